"""CPU of the hooks alone: Celery's signals sent in a loop, without Celery's own work.

The real receivers run in real processes: a producer, a worker's main process and the child that
it forks, with a real store. Only the broker, the pool and the task are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.overhead import gate
from benchmarks.overhead.rounds import ROOT, Receiver, server
from benchmarks.overhead.rows import ROW_VARIABLE, ROWS, this_row

NAMES: Final = ("publish", "publish, written", "run, in the child", "run, in the main process")
_PACE_SECONDS: Final = 0.0005
"""Between two jobs: as far apart as a worker's are, so that as many share a batch."""
_SETTLE_SECONDS: Final = 0.3


def measure(*, quick: bool = False) -> dict[str, dict[str, float]]:
    """µs per job of each of :data:`NAMES`, by row, above what the bare loop takes.

    *publish* and *in the child* are the calling threads' alone; *written* and *in the main
    process* are what threads of ours do for it afterwards.
    """
    jobs, times = (100, 2) if quick else (1000, 7)
    receiver = Receiver()
    found: dict[str, dict[str, float]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="jobmon-benchmark-") as folder:
            for key in ("celery:bare", "celery:jobmon", "celery:jobmon-spans", "celery:otel"):
                found[ROWS[key].title] = _in_a_process(key, receiver.url, folder, jobs, times)
    finally:
        receiver.stop()
    bare = found.pop(ROWS["celery:bare"].title)
    return {
        title: {name: parts[name] - bare[name] for name in NAMES} for title, parts in found.items()
    }


def _in_a_process(key: str, endpoint: str, folder: str, jobs: int, times: int) -> dict[str, float]:
    with server(Path(folder)) as port:
        said = subprocess.run(
            [sys.executable, "-m", "benchmarks.overhead.hooks", str(jobs), str(times)],
            env=os.environ
            | {
                ROW_VARIABLE: key,
                gate.URL_VARIABLE: f"redis://127.0.0.1:{port}/0",
                "JOB_MONITOR_REDIS_URL": f"redis://127.0.0.1:{port}/1",
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "PYTHONPATH": str(ROOT),
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(said.stdout)


def main() -> None:
    """Measure this process's row; print µs per job as JSON."""
    jobs, times = int(sys.argv[1]), int(sys.argv[2])
    from celery import signals

    from benchmarks.overhead import celery_app

    task = celery_app.app.tasks["noop"]
    with _run():
        one, both = _least(lambda: _publish(signals, task.name, jobs), jobs, times)
    found = {NAMES[0]: one, NAMES[1]: both - one}
    _Worker.app = celery_app.app
    signals.worker_init.send(sender=_Worker)
    found[NAMES[2]], found[NAMES[3]] = _least_of_fork(signals, task, jobs, times)
    print(json.dumps(found))


class _Worker:
    hostname = "celery@benchmark"
    pool_cls = "celery.concurrency.prefork"
    pool: Any = None
    app: Any = None


def _run() -> Any:
    from contextlib import nullcontext

    if not this_row().jobmon:
        return nullcontext()
    import jobmon

    return jobmon.command("overhead:publish")


def _least(loop: Callable[[], None], jobs: int, times: int) -> tuple[float, float]:
    """µs per job: the calling thread's, and the whole process's."""
    loop()
    own: list[float] = []
    whole: list[float] = []
    for _ in range(times):
        thread, process = time.thread_time(), time.process_time()
        loop()
        own.append(time.thread_time() - thread)
        time.sleep(_SETTLE_SECONDS)
        whole.append(time.process_time() - process)
    return min(own) / jobs * 1e6, min(whole) / jobs * 1e6


def _least_of_fork(signals: Any, task: Any, jobs: int, times: int) -> tuple[float, float]:
    """µs per job: of a forked child that runs jobs, and of this process meanwhile."""
    reading, writing = os.pipe()
    go_reading, go_writing = os.pipe()
    child = os.fork()
    if not child:
        signals.worker_process_init.send(sender=None)
        _run_jobs(signals, task, _messages(task.name, jobs))
        os.write(writing, b"0\n")
        while os.read(go_reading, 1):
            messages = _messages(task.name, jobs)
            began = time.process_time()
            _run_jobs(signals, task, messages)
            time.sleep(_SETTLE_SECONDS)
            os.write(writing, f"{time.process_time() - began}\n".encode())
        os._exit(0)
    os.close(go_reading)
    own: list[float] = []
    main_process: list[float] = []
    with os.fdopen(reading) as results:
        results.readline()
        for _ in range(times):
            began = time.process_time()
            os.write(go_writing, b"x")
            own.append(float(results.readline()))
            main_process.append(time.process_time() - began)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return min(own) / jobs * 1e6, min(main_process) / jobs * 1e6


def _publish(signals: Any, name: str, jobs: int) -> None:
    """As ``celery.app.amqp`` sends them, with what protocol 2 puts into a message."""
    from benchmarks.overhead.celery_app import app

    declare = [app.amqp.queues["celery"]]
    for _ in range(jobs):
        task_id = str(uuid.uuid4())
        headers, body = _headers(name, task_id), ((), {}, {"callbacks": None, "chord": None})
        properties = {"correlation_id": task_id, "reply_to": "", "delivery_mode": 2, "priority": 0}
        signals.before_task_publish.send(
            sender=name, body=body, exchange="", routing_key="celery", declare=declare,
            headers=headers, properties=properties, retry_policy=None,
        )  # fmt: skip
        signals.after_task_publish.send(
            sender=name, body=body, headers=headers, exchange="", routing_key="celery"
        )
        time.sleep(_PACE_SECONDS)


def _run_jobs(signals: Any, task: Any, messages: list[dict[str, Any]]) -> None:
    """As ``celery.app.trace`` sends them."""
    for message in messages:
        task_id = message["id"]
        task.push_request(message)
        signals.task_prerun.send(sender=task, task_id=task_id, task=task, args=(), kwargs={})
        signals.task_postrun.send(
            sender=task, task_id=task_id, task=task, args=(), kwargs={}, retval=None,
            state="SUCCESS",
        )  # fmt: skip
        task.pop_request()
        time.sleep(_PACE_SECONDS)


def _messages(name: str, jobs: int) -> list[dict[str, Any]]:
    ids = [str(uuid.uuid4()) for _ in range(jobs)]
    return [
        {
            **_headers(name, task_id),
            **_context(task_id),
            "hostname": "celery@host",
            "delivery_info": {"exchange": "", "routing_key": "celery", "redelivered": False},
            "is_eager": False,
            "called_directly": False,
        }
        for task_id in ids
    ]


_RUN_ID: Final = str(uuid.uuid4())


def _context(task_id: str) -> dict[str, str]:
    """The headers that a producer of this row adds."""
    row = this_row()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    found: dict[str, str] = {}
    if row.spans_per_job:
        found["traceparent"] = trace
    if row.jobmon:
        from jobmon.instrument.context import HEADER, JobContext

        now = time.time()
        spans = {"creation": trace, "command_span": trace} if row.spans_per_job else {}
        found[HEADER] = JobContext(
            task_id, _RUN_ID, "overhead:publish", queue="celery", root_id=task_id,
            created_at=now, enqueued_at=now, trace_started_at=now, **spans,
        ).encode()  # fmt: skip
    return found


def _headers(name: str, task_id: str) -> dict[str, Any]:
    return {
        "lang": "py", "task": name, "id": task_id, "shadow": None, "eta": None, "expires": None,
        "group": None, "group_index": None, "retries": 0, "timelimit": [None, None],
        "root_id": task_id, "parent_id": None, "argsrepr": "()", "kwargsrepr": "{}",
        "origin": "gen1@host", "ignore_result": True, "replaced_task_nesting": 0,
        "stamped_headers": None, "stamps": {},
    }  # fmt: skip


if __name__ == "__main__":
    main()
