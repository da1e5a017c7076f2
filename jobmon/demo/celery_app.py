"""The demo's Celery application. One line instruments it: ``jobmon.instrument()``."""

from __future__ import annotations

import json
import os
from typing import Any

import jobmon

jobmon.instrument()

from celery import Celery  # noqa: E402  # pyright: ignore[reportMissingTypeStubs]

from jobmon.demo import corpus, tracing  # noqa: E402

tracing.set_up()

app: Any = Celery("demo", broker=os.environ["JOBMON_DEMO_BROKER_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


@app.task(name="demo.index_file")
def index_file(name: str) -> dict[str, object]:
    """Hash and count the words of one file."""
    return corpus.index(name)


@app.task(name="demo.check_file", bind=True, max_retries=1, default_retry_delay=1)
def check_file(self: Any, name: str) -> int:
    """Check one file; one that fails is tried once more."""
    try:
        return corpus.check(name)
    except UnicodeDecodeError as error:
        raise self.retry(exc=error) from None


@app.task(name="demo.report_package")
def report_package(package: str) -> int:
    """Enqueue an RQ job for each module of a package."""
    from jobmon.demo import rq_jobs

    modules = corpus.modules(package)
    queue = rq_jobs.queue()
    for module in modules:
        queue.enqueue(rq_jobs.read_module, module)
    return len(modules)


@app.task(name="demo.file_vocabulary")
def file_vocabulary(module: str, words: dict[str, int]) -> str:
    """Write what an RQ job read into the demo's folder."""
    target = corpus.output() / f"{module.replace('/', '.')}.json"
    target.write_text(json.dumps(words))
    return target.name
