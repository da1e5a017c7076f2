"""Calls of our own that make no spans, whatever instruments the client they go through."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Generator[None]:
    """Make no spans inside, here and in what is called."""
    # Nobody traces in a process that has not imported this; half imported is not imported.
    api: Any = sys.modules.get("opentelemetry.context")
    if not all(hasattr(api, name) for name in ("attach", "detach", "get_current", "set_value")):
        yield
        return
    # Instrumentations ask for both (opentelemetry-instrumentation: utils.py).
    keys = ("suppress_instrumentation", getattr(api, "_SUPPRESS_INSTRUMENTATION_KEY", ""))
    silent = api.get_current()
    for key in filter(None, keys):
        silent = api.set_value(key, True, silent)
    token = api.attach(silent)
    try:
        yield
    finally:
        api.detach(token)
