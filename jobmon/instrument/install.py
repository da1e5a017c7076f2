"""Switching instrumentation on and off in this process."""

from __future__ import annotations

import sys
import threading

from jobmon.instrument import commands, jobs, recorder, spans
from jobmon.instrument.guard import guarded
from jobmon.instrument.on_import import on_import
from jobmon.settings import Settings, load_for_worker

_lock = threading.Lock()
_installed = False


@guarded
def instrument(settings: Settings | None = None) -> None:
    """Record the commands and jobs of this process; calling it again changes nothing.

    Imports neither Celery nor RQ: each is hooked as soon as it is imported. Never raises; a bad
    setting is logged once and its default used.

    Args:
        settings: What to use instead of the environment and ``jobmon.toml``.
    """
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
        configure(settings if settings is not None else load_for_worker())
        on_import("celery.signals", _celery)
        on_import("rq", _rq)


def configure(settings: Settings) -> None:
    """Hand the settings to everything that records in this process."""
    recorder.configure(settings)
    jobs.configure(settings)
    spans.configure(settings)
    commands.configure(settings)


@guarded
def uninstrument() -> None:
    """Take every hook out again and write what is waiting."""
    global _installed
    with _lock:
        if not _installed:
            return
        _installed = False
        for engine in ("celery", "rq"):
            module = sys.modules.get(f"jobmon.instrument.{engine}")
            if module is not None:
                module.uninstall()
        recorder.flush(1.0)


def _celery() -> None:
    from jobmon.instrument import celery

    celery.install()


def _rq() -> None:
    from jobmon.instrument import rq

    rq.install()
