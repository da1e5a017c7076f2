"""The demo's four commands, run as processes: ``python -m jobmon.demo.commands corpus:index``.

Each prints one JSON line when it has published everything: its run's id and how many jobs will
have run once all is done. That number comes from the files alone, so that what jobmon recorded
can be checked against it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import jobmon

jobmon.instrument()

from jobmon.demo import celery_app, corpus, rq_jobs  # noqa: E402


def index() -> int:
    """Wide fan-out: a Celery job for each file."""
    names = corpus.texts()
    for name in names:
        celery_app.index_file.delay(name)
    return len(names)


def compress() -> int:
    """Heavier work: an RQ job for each package."""
    packages = corpus.packages()
    queue = rq_jobs.queue()
    for package in packages:
        queue.enqueue(rq_jobs.compress_package, package)
    return len(packages)


def check() -> int:
    """A failing minority: files that are not plain ASCII fail, twice."""
    names = corpus.texts()[-60:]
    for name in names:
        celery_app.check_file.delay(name)
    return len(names)


def report() -> int:
    """Nested: Celery → RQ → Celery."""
    packages = corpus.packages()[:3]
    for package in packages:
        celery_app.report_package.delay(package)
    return len(packages) + 2 * sum(len(corpus.modules(package)) for package in packages)


COMMANDS: dict[str, Callable[[], int]] = {
    "corpus:index": index,
    "corpus:compress": compress,
    "corpus:check": check,
    "corpus:report": report,
}


def main(name: str) -> None:
    """Run one command."""
    with jobmon.command(name, arguments={"corpus": "stdlib"}) as run:
        jobs = COMMANDS[name]()
    print(json.dumps({"process_id": run.id, "command": name, "jobs": jobs}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
