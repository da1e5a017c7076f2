"""What a transition costs, in CPU of the client and of the server, and what a job costs in memory.

``python -m benchmarks.store [--rounds N] [--jobs N] [--server PATH] [--write FILE]``

Beside the script: the same rules done by the client, one pipeline per transition
(``pipeline.py``). Rounds are interleaved and the minimum of each counts, because the machine is
shared. Ends with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import re
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.store.pipeline import PipelineStore
from jobmon.model import RunTransition, Stage, Transition
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.writer import Writer
from tests.conftest import RedisServer, server_binary

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT_TARGET, SERVER_TARGET, MEMORY_TARGET = 0.25, 0.5, 1.6
BATCHES = (1, 10, 100)
COMMAND = "data:process"
NOW_MS = int(time.time() * 1000)
X = re.compile(rb'"x":"[^"]*",')


def body(random_: random.Random, process_id: str, job_name: str, **times: float) -> bytes:
    """A record as the engines make them, 500 to 700 bytes with its head."""
    record = {
        "queue": "default",
        "class": job_name,
        "command_name": COMMAND,
        "process_id": process_id,
        "engine": "celery",
        "created_at": NOW_MS / 1000,
        "enqueued_at": NOW_MS / 1000,
        **times,
        "worker": "celery@worker-7f9c4d5b8-x2x4z",
        "root_id": str(uuid.UUID(int=random_.getrandbits(128))),
        "trace_id": f"{random_.getrandbits(128):032x}",
        "span_id": f"{random_.getrandbits(64):016x}",
        "host": "worker-7f9c4d5b8-x2x4z",
        "app": "default",
        "environment": "production",
        "release": "2024.11.3",
        "tags": ["batch", "eu-west-1"][: random_.randrange(3)],
        "v": 1,
    }
    return json.dumps(record, separators=(",", ":")).encode()[1:]


def workload(jobs: int, runs: int) -> list[Transition | RunTransition]:
    """Runs of jobs in the order in which a busy store sees them: three transitions a job."""
    random_ = random.Random(7)
    ids = [str(uuid.UUID(int=random_.getrandbits(128))) for _ in range(runs)]
    items: list[Transition | RunTransition] = [run_item(one, "running") for one in ids]
    waiting: list[list[Transition]] = []
    for at in range(jobs):
        waiting.append(life(random_, ids[at % runs], at))
        if len(waiting) > 50:
            advance(random_, waiting, items)
    while waiting:
        advance(random_, waiting, items)
    return items + [run_item(one, "completed") for one in ids]


def advance(
    random_: random.Random,
    waiting: list[list[Transition]],
    items: list[Transition | RunTransition],
) -> None:
    for _ in range(3):
        if waiting:
            one = random_.choice(waiting)
            items.append(one.pop(0))
            if not one:
                waiting.remove(one)


def run_item(process_id: str, status: str) -> RunTransition:
    record = {"id": process_id, "command": COMMAND, "started_at": NOW_MS / 1000}
    ended = status != "running"
    return RunTransition(
        process_id,
        COMMAND,
        status,
        status if ended else "",
        NOW_MS + 9_000 if ended else NOW_MS,
        9_000_000 if ended else 0,
        0,
        json.dumps(record).encode(),
    )


def life(random_: random.Random, process_id: str, at: int) -> list[Transition]:
    job_name = f"app.tasks.work_{at % 3}"
    execution_us = int(random_.lognormvariate(11, 2))
    failed = random_.random() < 0.05
    job_id = str(uuid.UUID(int=random_.getrandbits(128)))
    start = {"started_at": NOW_MS / 1000 + 0.25, "queue_time": 0.25}
    end = {"finished_at": NOW_MS / 1000 + 1, "execution_time": execution_us / 1_000_000}
    common: dict[str, Any] = {
        "process_id": process_id,
        "command": COMMAND,
        "manual": False,
        "job_id": job_id,
        "engine": "celery",
        "queue": "default",
        "job_name": job_name,
        "attempt": 1,
        "delivery": 0,
        "outcome": "",
        "execution_us": 0,
        "queue_time_us": -1,
        "peak_memory_bytes": 0,
        "error_type": "",
    }
    status = "failed" if failed else "completed"
    return [
        Transition(
            **common,
            status="pending",
            stages=int(Stage.ENQUEUED),
            at_ms=NOW_MS,
            body=body(random_, process_id, job_name),
        ),
        Transition(
            **common | {"queue_time_us": 250_000},
            status="processing",
            stages=int(Stage.STARTED),
            at_ms=NOW_MS + 250,
            body=body(random_, process_id, job_name, **start),
        ),
        Transition(
            **common
            | {
                "queue_time_us": 250_000,
                "outcome": status,
                "execution_us": execution_us,
                "peak_memory_bytes": 40_000_000 + at,
                "error_type": "ValueError" if failed else "",
            },
            status=status,
            stages=int(Stage.STARTED | Stage.ENDED),
            at_ms=NOW_MS + 1000,
            body=body(random_, process_id, job_name, **start, **end),
        ),
    ]


def batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def server_seconds(client: Any) -> float:
    info = client.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


def measured(client: Any, count: int, work: Callable[[], None]) -> tuple[float, float]:
    """CPU of the client and of the server in microseconds per transition."""
    before = server_seconds(client)
    started = time.process_time()
    work()
    own = time.process_time() - started
    server = server_seconds(client) - before
    return own / count * 1e6, server / count * 1e6


def run_batched(client: Any, items: list[Any], size: int) -> tuple[float, float]:
    client.flushall()
    writer = Writer(client, Settings())
    writer.apply(items[:1])
    parts = batches(items[1:], size)

    def work() -> None:
        for part in parts:
            writer.apply(part)

    return measured(client, len(items) - 1, work)


def run_pipelines(client: Any, items: list[Any]) -> tuple[float, float]:
    client.flushall()
    store = PipelineStore(client, Settings())
    store.apply(items[0])

    def work() -> None:
        for item in items[1:]:
            store.apply(item)

    return measured(client, len(items) - 1, work)


def outcome(client: Any, process_ids: set[str]) -> object:
    """What both ways must agree on."""
    reader = Reader(client, Settings())
    totals = reader.totals()
    jobs = [reader.jobs_of_run(one).jobs for one in sorted(process_ids)]
    counters = []
    for one in sorted(process_ids):
        found = reader.run_counters(one, COMMAND)
        assert found is not None
        counters.append((found.job_count, found.success_jobs, found.failed_jobs))
        counters.append((round(found.total_job_time, 3), found.peak_memory))
    series = [
        (one.enqueued, one.started, one.finished, one.errors, one.duration.counts, one.queue_time)
        for one in totals.jobs
    ]
    return jobs, counters, series, totals.commands[0].jobs_finished, reader.queue_counts()


def memory(client: Any, jobs: int) -> tuple[int, int, dict[str, int]]:
    """Bytes of one completed run's keys, of its records, and by key."""
    client.flushall()
    items = workload(jobs, 1)
    writer = Writer(client, Settings())
    for part in batches(items, 100):
        writer.apply(part)
    process_id = items[0].process_id
    keys = Keys(Settings().redis.prefix)
    own = keys.of(process_id)
    names = {
        "jobs": own.jobs,
        "metrics": own.metrics(COMMAND),
        "attempts": own.attempts,
        "unsynced of the run": own.unsynced,
        # Entries of this run in the keys of all runs.
        "failed": keys.failed,
        "unsynced": keys.unsynced,
        "drained": keys.drained,
        "finished": keys.finished,
        "finished by time": keys.finished_by_time,
    }
    for series in client.hvals(keys.job_series):
        names[f"failed of series {series.decode()}"] = keys.failed_in(series.decode())
    sizes = {name: client.memory_usage(key, samples=0) or 0 for name, key in names.items()}
    records = client.hgetall(own.jobs).values()
    # The store's own numbers are no part of what was to be stored.
    return sum(sizes.values()), sum(len(X.sub(b"", one)) for one in records), sizes


def table(
    best: dict[str, tuple[float, float]], used: tuple[int, int, dict[str, int]], jobs: int
) -> tuple[list[str], bool]:
    base_client, base_server = best["pipeline"]
    lines = [
        "| way | client µs | server µs | client ratio | server ratio |",
        "|---|---|---|---|---|",
        f"| one pipeline per transition | {base_client:.1f} | {base_server:.1f} | 1 | 1 |",
    ]
    for size in BATCHES:
        client, server = best[str(size)]
        lines.append(
            f"| script, batch of {size} | {client:.1f} | {server:.1f} "
            f"| {client / base_client:.3f} | {server / base_server:.3f} |"
        )
    client, server = best["100"]
    total, records, sizes = used
    results = [
        ("client CPU, batch of 100", client / base_client, CLIENT_TARGET),
        ("server CPU, batch of 100", server / base_server, SERVER_TARGET),
        ("Redis bytes over the records' own", total / records, MEMORY_TARGET),
    ]
    lines += ["", "| target | measured | allowed | |", "|---|---|---|---|"]
    for name, value, allowed in results:
        verdict = "pass" if value <= allowed else "**fail**"
        lines.append(f"| {name} | {value:.3f} | {allowed} | {verdict} |")
    parts = ", ".join(f"{name} {size / jobs:.0f}" for name, size in sizes.items() if size)
    lines += [
        "",
        f"Memory of one completed run of {jobs} jobs: {total / jobs:.0f} bytes a job, of which "
        f"{records / jobs:.0f} are the record. By key: {parts}.",
    ]
    return lines, all(value <= allowed for _, value, allowed in results)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of a round")
    parser.add_argument("--server", default=server_binary(), help="path of the server")
    parser.add_argument("--write", type=Path, help="page to write the result to")
    options = parser.parse_args()
    items = workload(options.jobs, 4)
    process_ids = {item.process_id for item in items}
    best: dict[str, tuple[float, float]] = {}
    server = RedisServer(options.server)
    server.start()
    try:
        with server.client() as client:
            version = client.info("server")
            for _ in range(options.rounds):
                got = {"pipeline": run_pipelines(client, items)}
                expected = outcome(client, process_ids)
                for size in BATCHES:
                    got[str(size)] = run_batched(client, items, size)
                    assert outcome(client, process_ids) == expected
                for name, pair in got.items():
                    was = best.get(name, pair)
                    best[name] = (min(was[0], pair[0]), min(was[1], pair[1]))
            lines, passed = table(best, memory(client, 1000), 1000)
    finally:
        server.stop()
    name = "Valkey" if "valkey_version" in version else "Redis"
    kind = f"{name} {version.get('valkey_version') or version['redis_version']}"
    head = [
        f"{kind}, CPython {platform.python_version()}, {options.rounds} interleaved rounds of "
        f"{len(items)} transitions ({options.jobs} jobs in 4 runs), minima, µs of CPU per "
        "transition.",
        "",
    ]
    print("\n".join([*head, *lines]))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text("\n".join([*PAGE, *head, *lines, ""]))
    return 0 if passed else 1


PAGE = [
    "# What the state store costs",
    "",
    "Written by `python -m benchmarks.store --write docs/benchmarks/store.md`. The competitor",
    "obeys the same rules (record order, run counters, totals, indexes, expiry) from the client:",
    "one reading and one writing pipeline per transition, without the WATCH that would make it",
    "safe. Both ways must end in the same records, counters and totals, or the benchmark fails.",
    "",
]

if __name__ == "__main__":
    sys.exit(main())
