"""What a job was called with, for people to read: in JSON, without secrets."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, Final, cast

from jobmon.instrument import redaction
from jobmon.instrument.guard import thrown_in
from jobmon.settings import Settings

_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def shown(
    args: object, kwargs: object, function: Callable[..., object] | None, settings: Settings
) -> str:
    """The JSON of ``{"args": …, "kwargs": …}``.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments, redacted by their names.
        function: What was called, if known: positional arguments have its parameters' names.
        settings: ``redact.keys``, ``redact.max_bytes``.
    """
    if function is not None and isinstance(args, list | tuple):
        args = _without_secrets(cast("list[Any] | tuple[Any, ...]", args), function, settings)
    return _encode(
        {"args": redaction.redact(args, settings), "kwargs": redaction.redact(kwargs, settings)}
    )


def _without_secrets(
    args: list[Any] | tuple[Any, ...], function: Callable[..., object], settings: Settings
) -> list[Any]:
    names, rest = _parameters(function)
    extra = tuple(settings.redact.keys)
    if rest and redaction.is_secret(rest, extra):
        args = [*args[: len(names)], *[redaction.REDACTED] * min(1, len(args) - len(names))]
    named = [
        redaction.by_name(name, value, extra) for name, value in zip(names, args, strict=False)
    ]
    return [*named, *args[len(named) :]]


def _parameters(function: Callable[..., object]) -> tuple[list[str], str]:
    """Names of the positional parameters, and of the one that takes all further arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except Exception as error:  # a callable of C, or a signature that users made
        if thrown_in(error):
            raise
        return [], ""
    names = [one.name for one in parameters if one.kind in _POSITIONAL]
    rest = (one.name for one in parameters if one.kind is inspect.Parameter.VAR_POSITIONAL)
    return names, next(rest, "")
