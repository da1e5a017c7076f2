"""What the flusher leaves out of a batch makes no difference to the store."""

from __future__ import annotations

import redis

from jobmon.instrument.flusher import _without_overtaken
from jobmon.model import Transition
from jobmon.settings import load
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.instrument.samples import transition


def end(number: int, **changes: object) -> Transition:
    known = {"outcome": "completed", "stages": 6, "execution_us": 2000}
    return transition(number, "completed", **{**known, **changes})


def test_a_start_is_left_out_only_beside_its_own_end() -> None:
    batch = [
        transition(1),
        transition(2),
        transition(3),
        transition(4),
        transition(5, attempt=2),
        transition(6, "pending", stages=1),
        end(1),
        end(3, stages=4),  # an end that does not know of the start
        transition(4, "retrying", outcome="retried", stages=6),
        end(5),
        end(6),
    ]
    kept = _without_overtaken(batch)
    assert kept == batch[1:]


def test_the_store_ends_the_same_without_it(store: RedisServer) -> None:
    batch = [
        transition(1, "pending", stages=1, queue_time_us=-1),
        transition(1),
        end(1),
        transition(2),
        transition(2, "failed", outcome="failed", stages=6, error_type="ValueError"),
    ]
    contents = []
    for prefix, items in (("a:", batch), ("b:", _without_overtaken(batch))):
        with store.client() as client:
            writer = Writer(client, load({"redis.prefix": prefix}, environ={}))
            writer.apply(items)
            contents.append(content(client, prefix))
    assert contents[0] == contents[1]


def content(client: redis.Redis, prefix: str) -> dict[str, object]:
    """All that is stored, less the moments of writing and the count of transitions."""
    own = {"last_update", "clock", "version", "born", "transitions", "lag_ms"}
    found: dict[str, object] = {}
    for key in client.scan_iter(f"{prefix}*"):
        name = key.decode().removeprefix(prefix)
        match client.type(key):
            case b"hash":
                fields = client.hgetall(key)
                found[name] = {k: v for k, v in fields.items() if k.decode() not in own}
            case b"zset" if "unsynced" not in name and name != "queues":
                found[name] = {m.decode().replace(prefix, "") for m in client.zrange(key, 0, -1)}
            case b"set":
                found[name] = client.smembers(key)
            case _:
                found[name] = None
    return found
