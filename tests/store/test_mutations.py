"""The property test is sharp: each of these broken scripts is caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from jobmon.store import unsynced, writer
from jobmon.store.script import Script
from tests.store.histories import Step, histories, play, served

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

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
        "push(zrem, key, was)",
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
    "a run that was sent does not start": (
        "run.started and (status == SENT or run.started ~= 'sent')",
        "run.started",
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
        "if run.finished then\n      run.unsynced = true\n    else",
        "if run.finished then run.unsynced = true end\n    if true then",
    ),
    "a lost run that says that it goes on stays lost": (
        "local alive = run.status == 'lost' and item[9] == BEATS",
        "local alive = false",
    ),
    "a start sent again takes back that its run is lost": (
        "and at_ms + floor(item[13] / 1000) > run.finished_ms",
        "",
    ),
    "a run is lost although it has beaten since": (
        "or (status == RUN_LOST and has_beaten_since(run, at_ms))",
        "",
    ),
    "the end of a run leaves its beats behind": (
        "call('ZREM', KEYS[18], run.process_id)",
        "",
    ),
    "earlier attempts are not moved": (
        "keep_old(owner, id .. ':' .. int(job.attempt), {",
        "keep_old({olds = {}}, id .. ':' .. int(job.attempt), {",
    ),
    "more than 20 earlier attempts are kept": (
        "owner.forgotten[field] = true",
        "",
    ),
    "a start after the end is not synced": (
        "run.unsynced = true\n    else",
        "else",
    ),
    "what comes late to a job that has ended is not synced": (
        "if shown and (job.rank == LOST or job.rank >= REVOKED) then job.unsynced = true end",
        "",
    ),
    "a job that failed is no failure": (
        "or rank == FAILED or rank == LOST then\n      job.failing",
        "then\n      job.failing",
    ),
    "a job that is failed no more is no failure": (
        "if was_rank == FAILED or was_rank == LOST or rank",
        "if rank",
    ),
}
OF_A_SERVER = {
    "a mark that was set again is cleared": (
        "_CLEAR",
        "and score and floor(score) == version",
        "and score",
    ),
    "jobs that changed since are taken off the list": (
        "_CLEAR",
        "elseif tonumber(version) > newest then\n      return at",
        "elseif false then",
    ),
    "what was read stays on the list": (
        "_CLEAR",
        "if count > 0 then call('LTRIM', list, count, -1) end",
        "",
    ),
    "the end of a run stays unsynced": (
        "_CLEAR",
        "if #drained > 0 then call('ZREM', KEYS[5], unpack(drained)) end",
        "",
    ),
    "a token of nobody clears": (
        "_CLEAR",
        "if call('HGET', KEYS[2], 'token') ~= token",
        "if false",
    ),
    "an extension makes something live for less long": (
        "_EXTEND",
        "left >= 0 and now_ms + left < until_ms",
        "left >= 0",
    ),
    "an extension forgets the jobs of a run": (
        "_EXTEND",
        "for place = next_key, next_key + 3 do",
        "for place = next_key, next_key do",
    ),
    "an extension leaves the run open for too short": (
        "_EXTEND",
        "call('ZADD', KEYS[4], 'XX', 'GT', moment, key)",
        "",
    ),
    "an extension forgets a tree": (
        "_EXTEND",
        "if is_due(KEYS[next_key + 2], until_ms) then",
        "if false then",
    ),
    "an open run is removed": (
        "_REMOVE",
        "if found[1] then return",
        "if found[2] then return",
    ),
    "a run is removed that is unsynced": (
        "_REMOVE",
        "if call('ZSCORE', KEYS[4], member) then",
        "if false then",
    ),
    "a job is removed that has not ended": (
        "_REMOVE",
        "return ENDED[found[1]] and found[2] == process_id",
        "return found[2] == process_id",
    ),
    "a run is removed before its failures are written": (
        "_REMOVE",
        "and not awaits_failures(version) then",
        "then",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_script_is_caught(
    name: str, store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = MUTATIONS[name]
    monkeypatch.setattr(writer, "_SCRIPT", broken(writer._SCRIPT, right, wrong))
    assert_it_is_caught(store, histories)


@pytest.mark.parametrize("name", OF_A_SERVER)
def test_a_broken_script_of_a_server_is_caught(
    name: str, store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    which, right, wrong = OF_A_SERVER[name]
    monkeypatch.setattr(unsynced, which, broken(getattr(unsynced, which), right, wrong))
    assert_it_is_caught(store, served)


def broken(script: Script, right: str, wrong: str) -> Script:
    assert script.text.count(right) == 1, f"{right!r} is no longer there once"
    return Script(script.text.replace(right, wrong))


def assert_it_is_caught(store: RedisServer, strategy: SearchStrategy[list[Step]]) -> None:
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
        @given(strategy)
        def property_holds(history: list[Step]) -> None:
            play(client, history)

        with pytest.raises((AssertionError, KeyError)):
            property_holds()
