"""Where the server logs, and how: nothing a user wrote can act in a line or start one."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final, cast

from jobmon.inert import inert
from jobmon.server import audit
from jobmon.settings import Settings

_LONGEST_MESSAGE: Final = 4096


def configure(settings: Settings) -> None:
    """Send jobmon's and uvicorn's logs where ``logging.channel`` says."""
    channel = settings.logging.channel
    handler = _handler(channel)
    handler.setFormatter(JSONLines() if settings.logging.structured else Lines())
    level = logging.getLevelNamesMapping()[settings.logging.level]
    # What uvicorn says at INFO repeats the line that `serve` prints.
    of_uvicorn = level if level <= logging.DEBUG else max(level, logging.WARNING)
    for name, least in (("jobmon", level), ("uvicorn", of_uvicorn)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(least)
    # A level asks how talkative the server is; changes are told whatever it is.
    logging.getLogger(audit.LOGGER).setLevel(logging.INFO)


def _handler(channel: str) -> logging.Handler:
    if channel == "null":
        return logging.NullHandler()
    if channel in ("stderr", "stdout"):
        return logging.StreamHandler(sys.stderr if channel == "stderr" else sys.stdout)
    return _PassOn(channel)


class _PassOn(logging.Handler):
    """Gives records to another logger, whose handlers are somebody else's."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._target = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        self._target.handle(record)


class Lines(logging.Formatter):
    """One line per record; of a traceback, further indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, logger, message."""
        message = inert(record.getMessage(), _LONGEST_MESSAGE)
        lines = [f"{_time(record)} {record.levelname} {record.name}: {message}"]
        lines += ("    " + inert(line, _LONGEST_MESSAGE) for line in _traceback(record))
        return "\n".join(lines)


class JSONLines(logging.Formatter):
    """One JSON object per record, ASCII only."""

    def format(self, record: logging.LogRecord) -> str:
        """The same as :class:`Lines`, and what a request's record says of it as members."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage()[:_LONGEST_MESSAGE],
        }
        facts = getattr(record, "facts", None)
        if isinstance(facts, dict):
            entry |= cast("dict[str, object]", facts)
        traceback = _traceback(record)
        if traceback:
            entry["traceback"] = "\n".join(traceback)
        return json.dumps(entry, default=str, separators=(",", ":"))


def _time(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _traceback(record: logging.LogRecord) -> list[str]:
    if record.exc_info is None or record.exc_info[0] is None:
        return []
    return logging.Formatter().formatException(record.exc_info).split("\n")
