"""Jobs found by their id alone."""

from __future__ import annotations

from jobmon.model import Outcome
from jobmon.store import whereabouts
from jobmon.store.keys import Keys
from tests.conftest import RedisServer
from tests.serving import Recorded


def test_a_job_of_a_run_with_something_open_or_uncopied_is_found(
    recorded: Recorded, store: RedisServer
) -> None:
    keys = Keys("jobmon:")
    first, second = recorded.run(), recorded.run("a{b}:c")
    opened, ended = first.job(), second.job(Outcome.COMPLETED)
    second.end()
    with store.client() as client:
        assert whereabouts.process_of(client, keys, opened) == first.id
        assert whereabouts.process_of(client, keys, ended) == second.id
        assert whereabouts.process_of(client, keys, "nope") is None
        # Copied, and nothing of it is open: the history knows it.
        client.delete(keys.unsynced)
        assert whereabouts.process_of(client, keys, opened) == first.id
        assert whereabouts.process_of(client, keys, ended) is None


def test_a_job_without_a_run_names_its_own(recorded: Recorded, store: RedisServer) -> None:
    with store.client() as client:
        client.hset("jobmon:job:metrics:j-1", "process_id", "p-1")
        assert whereabouts.process_of(client, Keys("jobmon:"), "j-1") == "p-1"
