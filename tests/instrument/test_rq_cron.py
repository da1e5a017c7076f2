"""What is told of the entries of ``rq cron``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from rq.cron import CronJob

from jobmon.instrument.rq_cron import _entries  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def told(**about: object) -> str:
    job = CronJob(queue_name="default", func=print, **about)  # type: ignore[arg-type]
    (entry,) = _entries([job])
    return entry.timezone


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Europe/Berlin", "Europe/Berlin"), (":Asia/Tokyo", "Asia/Tokyo"), ("UTC", "UTC")],
)
def test_a_cron_line_is_in_the_machines_zone_by_its_full_name(
    zone: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    zone.setenv("TZ", name)
    time.tzset()
    assert told(cron="0 4 * * *") == expected
    assert told(interval=5) == ""


def test_without_a_variable_the_machine_says_its_zone(zone: pytest.MonkeyPatch) -> None:
    zone.delenv("TZ", raising=False)
    zone.setattr(
        os.path, "realpath", lambda path: f"/usr/share/zoneinfo/America/New_York{path[:0]}"
    )
    assert ZoneInfo(told(cron="0 4 * * *")).key == "America/New_York"


def test_a_zone_without_a_name_is_told_as_it_is(zone: pytest.MonkeyPatch) -> None:
    zone.setenv("TZ", "XYZ-3")
    time.tzset()
    assert told(cron="0 4 * * *") == "XYZ"
