"""Modules of the user's, whose handlers are to hear of anomalies."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from jobmon import anomaly
from jobmon.errors import JobmonError, UsageError
from jobmon.inert import inert


def import_handlers(modules: Sequence[str]) -> None:
    """Import them, from the working directory too.

    Raises:
        UsageError: One cannot be imported, or none of them has a handler.
    """
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        try:
            importlib.import_module(name)
        except JobmonError:
            raise
        except Exception as error:
            what = inert(f"{type(error).__name__}: {error}", 1000)
            raise UsageError(f"--import {inert(name)}: {what}") from error
    if modules and not any(anomaly.handlers(state) for state in anomaly.STATES):
        raise UsageError(
            f"--import {inert(modules[-1])}: nothing in it is a handler by jobmon.on_anomaly"
        )
