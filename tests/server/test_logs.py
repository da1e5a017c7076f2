"""Log lines stay lines, whatever users wrote."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from jobmon.server import logs
from tests.server.application import configured

NASTY = "evil\r\n2026-01-01 FAKE \x1b[31m\u2028\u202e"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("jobmon", "uvicorn")]
    before = [(one.handlers[:], one.propagate, one.level) for one in loggers]
    yield
    for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
        one.handlers[:] = handlers
        one.propagate = propagate
        one.setLevel(level)


def failing() -> logging.LogRecord:
    """A record of an error whose message a user controls."""
    try:
        raise ValueError(NASTY)
    except ValueError:
        exc_info = sys.exc_info()
    return logging.LogRecord("jobmon.x", logging.ERROR, "", 1, "no %s", (NASTY,), exc_info)


def test_a_traceback_is_indented_and_inert() -> None:
    first, *rest = logs.Lines().format(failing()).split("\n")
    assert first.endswith("Z ERROR jobmon.x: no evil\\r\\n2026-01-01 FAKE \\x1b[31m\\u2028\\u202e")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert not set("".join(rest)) & set("\r\x1b\u2028\u202e")


def test_json_is_one_ascii_line() -> None:
    line = logs.JSONLines().format(failing())
    assert line.isascii()
    assert line.isprintable()
    entry = json.loads(line)
    assert entry["message"] == f"no {NASTY}"
    assert "ValueError: evil" in entry["traceback"]


def test_a_channel_can_be_a_logger_of_somebody_else(caplog: pytest.LogCaptureFixture) -> None:
    logs.configure(configured(logging__channel="shop.jobs", logging__level="warning"))
    with caplog.at_level(logging.DEBUG, "shop.jobs"):
        logging.getLogger("jobmon.server").warning("told")
        logging.getLogger("jobmon.server").info("not told")
    assert [record.getMessage() for record in caplog.records] == ["told"]


def test_uvicorn_is_heard_from_warnings_on_or_when_debugging() -> None:
    logs.configure(configured(logging__channel="null"))
    assert logging.getLogger("uvicorn.error").getEffectiveLevel() == logging.WARNING
    logs.configure(configured(logging__channel="null", logging__level="debug"))
    assert logging.getLogger("uvicorn.error").getEffectiveLevel() == logging.DEBUG
