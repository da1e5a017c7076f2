"""When the next pass of the sync is due, whoever made the last one."""

from __future__ import annotations

from typing import Any

import pytest

from jobmon.settings import Settings
from jobmon.store.keys import SCHEMA_VERSION, Keys
from jobmon.store.lease import SYNC, Lease
from jobmon.store.passes import Passes
from jobmon.store.reader import Reader

KEYS = Keys("jobmon:")
SETTINGS = Settings()


@pytest.fixture
def passes(client: Any) -> Passes:
    client.flushall()
    return Passes(client, SETTINGS)


@pytest.fixture
def token(client: Any, passes: Passes) -> int:
    token = Lease(client, SETTINGS, SYNC).acquire()
    assert token is not None
    return token


def test_the_first_is_due_at_once_and_the_next_after_the_interval(
    client: Any, passes: Passes, token: int
) -> None:
    assert passes.due(300)
    assert passes.begin(token)
    assert passes.end(token, 0.5, success=True)
    assert not passes.due(300)
    assert passes.due(0)
    client.hincrby(KEYS.sync_totals, "began_ms", -300_000)
    assert passes.due(300)


def test_one_that_broke_off_is_due_again(passes: Passes, token: int) -> None:
    passes.begin(token)
    assert passes.due(300)


def test_one_that_failed_waits_for_its_turn_and_is_no_success(
    client: Any, passes: Passes, token: int
) -> None:
    passes.begin(token)
    passes.end(token, 1.0, success=False)
    assert not passes.due(300)
    state = Reader(client, SETTINGS).sync_state()
    assert (state.succeeded_at, state.duration) == (None, None)
    assert state.began_at is not None


def test_a_clock_that_was_set_back_keeps_nobody_waiting(
    client: Any, passes: Passes, token: int
) -> None:
    passes.begin(token)
    passes.end(token, 1.0, success=True)
    client.hincrby(KEYS.sync_totals, "began_ms", 10**9)
    assert passes.due(300)


def test_rows_add_up(client: Any, passes: Passes, token: int) -> None:
    assert passes.copied(token, {"job_metrics": 3, "command_metrics": 0})
    assert passes.copied(token, {"job_metrics": 2, "failed_jobs": 1})
    assert passes.copied(token, {})
    passes.begin(token)
    passes.end(token, 0.25, success=True)
    state = Reader(client, SETTINGS).sync_state()
    assert state.rows == {"job_metrics": 5, "failed_jobs": 1}
    assert state.duration == 0.25
    assert state.succeeded_at is not None
    assert 0 <= state.now - state.succeeded_at < 60
    assert state.lag == 0


def test_who_has_lost_the_lease_or_is_older_than_the_store_changes_nothing(
    client: Any, passes: Passes, token: int
) -> None:
    assert not passes.begin(token + 1)
    assert not passes.copied(token + 1, {"job_metrics": 1})
    assert not passes.end(token + 1, 1.0, success=True)
    client.hset(KEYS.meta, "schema", SCHEMA_VERSION + 1)
    assert not passes.begin(token)
    assert not client.exists(KEYS.sync_totals)
