"""The process that publishes: a line ``NUMBER`` in, that many jobs published, a line out.

The first job holds the worker until the benchmark opens the gate, the last one reports.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from benchmarks.overhead import rows


def main() -> None:
    """Publish until the input ends."""
    row = rows.this_row()
    if row.engine == "celery":
        from benchmarks.overhead.celery_app import publish
    else:
        from benchmarks.overhead.rq_app import publish

    print("ready", flush=True)
    for line in sys.stdin:
        number = int(line)
        with _run(row):
            publish("wait")
            for _ in range(number - 2):
                publish("noop")
            publish("report")
        print(number, flush=True)


def _run(row: rows.Row) -> AbstractContextManager[object]:
    if not row.jobmon:
        return nullcontext()
    import jobmon

    return jobmon.command("overhead:publish")


if __name__ == "__main__":
    main()
