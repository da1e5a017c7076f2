"""The property test is sharp: each of these broken scripts is caught."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from jobmon.store import writer
from tests.store.histories import Step, histories, play

if TYPE_CHECKING:
    from tests.conftest import RedisServer

MUTATIONS = {
    "delivery is ignored": (
        "if not final and delivery ~= old_delivery then",
        "if false then",
    ),
    "a final record is reopened by a redelivery": (
        "if final ~= old_final then return final end",
        "",
    ),
    "an equal transition replaces": (
        "return rank > old_rank",
        "return rank >= old_rank",
    ),
    "the old execution time is not subtracted": (
        "owner.job_time + counted_time(job) - was_time",
        "owner.job_time + counted_time(job)",
    ),
    "a late stage is not remembered": (
        "if bits ~= 0 then set_stages(job, back, seen + bits) end",
        "",
    ),
    "lost does not count as failed": (
        "was_rank == FAILED or was_rank == LOST, rank == FAILED or rank == LOST",
        "was_rank == FAILED, rank == FAILED",
    ),
    "a corrected lost is not counted": (
        "add(job_totals, series .. ':lost_corrected', 1)",
        "",
    ),
    "the member of the old index stays": (
        "push(zrem, job.place_was, was)",
        "",
    ),
    "a late memory peak is forgotten": (
        "numbers.peak_memory = max(owner.numbers.peak_memory, peak)",
        "numbers.peak_memory = owner.numbers.peak_memory",
    ),
    "a retry by a person is not synced": (
        "was_rank == LOST or was_rank >= REVOKED or rank == LOST or rank >= REVOKED",
        "rank == LOST or rank >= REVOKED",
    ),
    "an open run expires as if it were finished": (
        "(open > 0 or not run.finished) and tracking_ttl",
        "(not run.finished) and tracking_ttl",
    ),
    "the reopened run stays drained": (
        "run.reopened = true",
        "",
    ),
    "the start does not unmark a partial run": (
        "run.unmark = true",
        "",
    ),
    "a start after the end reopens the run": (
        "if not run.finished then\n      run.status = 'running'",
        "if true then\n      run.status = 'running'",
    ),
    "earlier attempts are not moved": (
        "keep_old(owner, id .. ':' .. int(job.attempt), {",
        "keep_old({olds = {}}, id .. ':' .. int(job.attempt), {",
    ),
    "more than 20 earlier attempts are kept": (
        "owner.forgotten[field] = true",
        "",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_script_is_caught(
    name: str, store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = MUTATIONS[name]
    assert writer._SCRIPT.count(right) == 1, f"{right!r} is no longer there once"
    broken = writer._SCRIPT.replace(right, wrong)
    monkeypatch.setattr(writer, "_SCRIPT", broken)
    monkeypatch.setattr(writer, "_SHA", sha1(broken.encode()).hexdigest())
    with store.client() as client:

        @settings(
            max_examples=1000,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(histories)
        def property_holds(history: list[Step]) -> None:
            play(client, history)

        with pytest.raises((AssertionError, KeyError)):
            property_holds()
