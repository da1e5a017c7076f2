"""What is kept of an error: its class, its message and the innermost frames, redacted."""

from __future__ import annotations

import json
import linecache
import re
import traceback
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from jobmon.instrument.guard import note, thrown_in
from jobmon.instrument.redaction import TRUNCATED, redact_text
from jobmon.settings import Settings

MAX_BYTES: Final = 12 * 1024
"""Of one description, encoded: it shares a record of 16 KiB with everything else."""
_MAX_NAME: Final = 255
_MAX_MESSAGE: Final = 4096
_MAX_FILE: Final = 256
_MAX_CODE: Final = 200
_MAX_TRACEBACK: Final = 64 * 1024
_DEEPEST_TRACEBACK: Final = 100

_FRAME: Final = re.compile(r'^ *File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<in>.+))?$')
_RAISED: Final = re.compile(r"^(?P<class>[^\W\d][\w.<>]*)(?:: (?P<message>.*))?$", re.DOTALL)


def qualified_name(kind: type) -> str:
    """``module.Class``, for a built-in class its name alone."""
    module = getattr(kind, "__module__", "")
    name = getattr(kind, "__qualname__", "?")
    named = name if module in ("builtins", "__main__", "") else f"{module}.{name}"
    return str(named)[:_MAX_NAME]


def message_of(error: BaseException, settings: Settings, longest: int = _MAX_MESSAGE) -> str:
    """The error's own text, redacted; what its class does wrong in ``__str__`` stays there."""
    try:
        text = str(error)
    except Exception as problem:
        if thrown_in(problem):
            raise
        return "[unreadable]"
    return _cut(redact_text(text, settings), longest)


def describe(error: BaseException | None, settings: Settings, *, text: str = "") -> dict[str, Any]:
    """The members ``class``, ``message``, ``frames`` and perhaps ``traceback`` of a record's error.

    Args:
        error: What was raised, where this process has it.
        settings: How many frames, whether the full traceback, and what to redact.
        text: A printed traceback, where the error has none any more or is unknown.

    Returns:
        At most :data:`MAX_BYTES` of JSON; frames are ordered as printed, innermost last.
    """
    try:
        return _describe(error, settings, text)
    except Exception as problem:
        if thrown_in(problem):
            raise
        note("describe")
        name = qualified_name(type(error)) if error is not None else ""
        return {"class": name, "message": "[unreadable]", "frames": []}


def _describe(error: BaseException | None, settings: Settings, text: str) -> dict[str, Any]:
    count = settings.exceptions.frame_count
    printed = _printed(text[-_MAX_TRACEBACK:])
    frames = _raised_through(error.__traceback__, count) if error is not None else []
    if not frames and count:
        frames = printed[2][-count:]
    described: dict[str, Any] = {
        "class": qualified_name(type(error)) if error is not None else printed[0],
        "message": message_of(error, settings)
        if error is not None
        else _cut(redact_text(printed[1], settings), _MAX_MESSAGE),
        "frames": [_shown(frame, settings) for frame in frames],
    }
    left = MAX_BYTES - _size(described)
    if left < 0:
        # Where it happened says more than how the line reads.
        for frame in described["frames"]:
            frame.pop("code", None)
        left = MAX_BYTES - _size(described)
    while left < 0 and described["frames"]:
        left += _size(described["frames"].pop(0)) + 2
    if left < 0:
        described["message"] = _cut(described["message"], _MAX_MESSAGE // 8)
        left = MAX_BYTES - _size(described)
    if settings.exceptions.detailed_logging and settings.environment != "production":
        full = redact_text(_formatted(error) or text[-_MAX_TRACEBACK:], settings)
        described["traceback"] = _tail(full, left - len(', "traceback": ""'))
    return described


def _raised_through(trace: TracebackType | None, count: int) -> list[dict[str, Any]]:
    """The innermost frames of a traceback, however deep it is."""
    if not count:
        return []
    innermost = deque(_walk(trace), maxlen=count)
    found: list[dict[str, Any]] = []
    for entry in innermost:
        code = entry.tb_frame.f_code
        name = code.co_filename
        line = linecache.getline(name, entry.tb_lineno, entry.tb_frame.f_globals)
        found.append(
            {"file": name, "line": entry.tb_lineno, "function": code.co_qualname, "code": line}
        )
    return found


def _walk(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _shown(frame: dict[str, Any], settings: Settings) -> dict[str, Any]:
    file = redact_text(frame["file"], settings)
    shown: dict[str, Any] = {
        "file": file if len(file) <= _MAX_FILE else "…" + file[-_MAX_FILE:],
        "line": frame["line"],
        "function": _cut(redact_text(frame["function"], settings), _MAX_NAME),
    }
    code = frame["code"].strip()
    if code:
        shown["code"] = _cut(redact_text(code[: 4 * _MAX_CODE], settings), _MAX_CODE)
    return shown


def _formatted(error: BaseException | None) -> str:
    if error is None or error.__traceback__ is None:
        return ""
    limit = -_DEEPEST_TRACEBACK
    return "".join(traceback.format_exception(error, limit=limit))[-_MAX_TRACEBACK:]


def _printed(text: str) -> tuple[str, str, list[dict[str, Any]]]:
    """Class, message and frames of the last error in a printed traceback."""
    lines = text.strip("\n").splitlines()
    frames: list[dict[str, Any]] = []
    after = 0
    for number, line in enumerate(lines):
        if line.startswith("Traceback (most recent call last):"):
            frames, after = [], number + 1
        elif (found := _FRAME.match(line)) is not None:
            frames.append(
                {
                    "file": found["file"],
                    "line": int(found["line"][:9]),
                    "function": found["in"] or "",
                    "code": "",
                }
            )
            after = number + 1
        elif frames and after == number and line.startswith("    "):
            frames[-1]["code"] = line
    # Source lines and the markers below them are indented; the error itself is not.
    while after < len(lines) and (lines[after].startswith(" ") or not lines[after]):
        after += 1
    raised = "\n".join(lines[after:])
    named = _RAISED.match(raised) if frames or len(lines) == 1 else None
    if named is None:
        return "", raised or text, frames
    return named["class"][:_MAX_NAME], named["message"] or "", frames


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - len(TRUNCATED)] + TRUNCATED


def _tail(text: str, room: int) -> str:
    """The end of a traceback, where the error is, in so many encoded bytes."""
    if _size(text) <= room:
        return text
    room -= len(TRUNCATED)
    kept = text[-max(0, room) :] if room > 0 else ""
    while kept and (size := _size(kept)) > room:
        kept = kept[max(1, len(kept) - len(kept) * room // size) :]
    return TRUNCATED + kept


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
