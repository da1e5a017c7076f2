"""Switching instrumentation on and off in this process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping

from jobmon.instrument import commands, jobs, recorder, spans
from jobmon.instrument.guard import guarded
from jobmon.instrument.on_import import on_import
from jobmon.settings import Settings, load_for_worker

_lock = threading.Lock()
_installed = False


@guarded
def instrument(settings: Settings | Mapping[str, object] | None = None) -> None:
    """Record the commands and jobs of this process; calling it again changes nothing.

    Imports no library that it hooks: each is hooked as soon as it is imported. Never raises; a
    bad setting is logged once and its default used.

    Args:
        settings: What goes before the environment and ``jobmon.toml``, by key:
            ``{"redis.url": "redis://state"}``; or all settings, in the place of both.
    """
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
        configure(settings if isinstance(settings, Settings) else load_for_worker(settings))
        on_import("celery.signals", _celery)
        on_import("celery.beat", _celery_beat)
        on_import("rq", _rq)
        on_import("click.core", _click)
        on_import("typer.core", _typer)
        on_import("django.core.management", _django)
        on_import("rq.cron", _rq_cron)
        on_import("rq.scheduler", _rq_scheduler)


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
        for hooked in ("celery_beat", "celery", "rq_cron", "rq", "click", "django"):
            module = sys.modules.get(f"jobmon.instrument.{hooked}")
            if module is not None:
                guarded(module.uninstall)()  # one that fails keeps none of the others
        recorder.flush(1.0)


def _celery() -> None:
    from jobmon.instrument import celery

    celery.install()


def _celery_beat() -> None:
    from jobmon.instrument import celery_beat

    celery_beat.install()


def _rq() -> None:
    from jobmon.instrument import rq

    rq.install()


def _click() -> None:
    from jobmon.instrument import click

    click.install()


def _typer() -> None:
    from jobmon.instrument import click

    click.install_typer()


def _django() -> None:
    from jobmon.instrument import django

    django.install()


def _rq_cron() -> None:
    from jobmon.instrument import rq_cron

    rq_cron.install_cron()


def _rq_scheduler() -> None:
    from jobmon.instrument import rq_cron

    rq_cron.install_scheduler()
