"""One line for each change that somebody asked for."""

from __future__ import annotations

import json
import logging

import pytest

from jobmon.server import audit
from jobmon.server.logs import JSONLines, Lines, configure
from tests.server.application import Application, configured
from tests.serving import OPERATE, READ, TOKENS, bearer

APP = Application(configured(auth__tokens=TOKENS, rate_limiting__enabled=False))


def audited(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == audit.LOGGER]


def test_a_change_is_told_with_who_what_when_and_how_it_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, audit.LOGGER)
    headers = {**bearer(OPERATE), "X-Request-Id": "abc-1"}
    assert APP.request("POST", "/things/7", headers=headers, client="192.0.2.1").is_success
    (record,) = audited(caplog)
    said = "ben: POST /things/{id} of 7: 200, client 192.0.2.1, request abc-1"
    assert record.getMessage() == said
    entry = json.loads(JSONLines().format(record))
    assert entry["time"].endswith("Z")
    facts = ("who", "method", "endpoint", "target", "status", "client", "request_id")
    assert [entry[fact] for fact in facts] == [
        *("ben", "POST", "/things/{id}", "7", 200, "192.0.2.1", "abc-1"),
    ]


def test_so_is_one_that_was_refused_to_somebody_known(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, audit.LOGGER)
    assert APP.request("POST", "/things/7", headers=bearer(READ)).status_code == 403
    (record,) = audited(caplog)
    assert record.getMessage().startswith("ann: POST /things/{id} of 7: 403")


def test_what_changes_nothing_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, audit.LOGGER)
    for method, path, headers in (
        ("GET", "/things/7", bearer(OPERATE)),
        ("HEAD", "/things/7", bearer(OPERATE)),
        ("POST", "/things/7", {}),
        ("POST", "/things/7", bearer("wrong")),
        ("PUT", "/things/7", bearer(OPERATE)),
        ("POST", "/nope", bearer(OPERATE)),
    ):
        APP.request(method, path, headers=headers)
    assert audited(caplog) == []


def test_a_nasty_target_is_inert(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, audit.LOGGER)
    APP.request("POST", "/things/a%0D%0A2026%1B%5B31m%E2%80%AE", headers=bearer(OPERATE))
    (record,) = audited(caplog)
    line = Lines().format(record)
    assert "\\r\\n2026\\x1b[31m\\u202e" in line
    assert line.isprintable()


@pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
def test_no_level_hides_it(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("jobmon", "uvicorn", audit.LOGGER)
    before = {
        name: (logger.handlers[:], logger.propagate, logger.level)
        for name in names
        for logger in [logging.getLogger(name)]
    }
    try:
        configure(configured(logging__level=level, logging__channel="stdout"))
        APP.request("POST", "/things/7", headers=bearer(OPERATE))
    finally:
        for name, (handlers, propagate, old) in before.items():
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(old)
    assert "jobmon.audit: ben: POST" in capsys.readouterr().out
