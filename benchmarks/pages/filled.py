"""A history of so many jobs, made within the database by statements over whole sets.

The rows are written before there are sums and indexes for pages, which the migration then makes:
how long it takes is measured on the way.
"""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

from jobmon.history import migrate
from jobmon.history.schema import tables
from jobmon.settings import Settings

BEFORE: Final = "0001"
DAYS: Final = 30
COMMANDS: Final = 20
JOBS_OF_RUN: Final = 200
FAILED: Final = 10
"""One of so many jobs is."""

_NUMBERS: Final = {
    "sqlite": "(WITH RECURSIVE g(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM g WHERE n < {last}) "
    "SELECT n FROM g) AS g",
    "postgresql": "generate_series(0, {last}) AS g(n)",
}
_AT: Final = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%f', 'now', '-' || {seconds} || ' seconds') || '000Z'",
    "postgresql": "now() - {seconds} * interval '1 second'",
}
_ID: Final = {
    "sqlite": "lower(hex(randomblob(16)))",
    "postgresql": "md5(random()::text || g.n)",
}
_RUN: Final = {
    "sqlite": "printf('0af76519-16cd-43dd-8448-%012x', {number})",
    "postgresql": "'0af76519-16cd-43dd-8448-' || lpad(to_hex({number}), 12, '0')",
}
_UNIFORM: Final = {"sqlite": "abs(random() % 1000) / 1000.0", "postgresql": "random()"}
_SETTLE: Final = {"sqlite": "ANALYZE", "postgresql": "VACUUM (ANALYZE)"}


def fill(engine: sa.Engine, settings: Settings, jobs: int) -> float:
    """Fill an empty database; how many seconds the migration took."""
    migrate.upgrade(engine, settings, to=BEFORE)
    with engine.begin() as connection:
        late = _without_indexes(connection)
        for statement in _statements(engine.dialect.name, jobs):
            connection.execute(sa.text(statement))
        for index in late:
            index.create(connection)
    began = time.perf_counter()
    migrate.upgrade(engine, settings)
    took = time.perf_counter() - began
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(_SETTLE[engine.dialect.name])
    return took


def _without_indexes(connection: sa.Connection) -> list[sa.Index]:
    """Drops indexes, since tables are sooner filled without; those that are to come back."""
    own = tables("")
    late: list[sa.Index] = []
    for table in (own.job_metrics, own.failed_jobs):
        kept = {index.name: index for index in table.indexes}
        for one in sa.inspect(connection).get_indexes(table.name):
            if "duplicates_constraint" not in one:
                connection.exec_driver_sql(f"DROP INDEX {one['name']}")
                late += [kept[one["name"]]] if one["name"] in kept else []
    return late


def _statements(kind: str, jobs: int) -> list[str]:
    def numbers(count: int) -> str:
        return _NUMBERS[kind].format(last=count - 1)

    def at(number: str) -> str:
        return _AT[kind].format(seconds=f"({number} * {DAYS * 86_400 / jobs!r})")

    def run(number: str) -> str:
        return _RUN[kind].format(number=number)

    def command(number: str) -> str:
        return f"'data:command-' || ({number} % {COMMANDS})"

    of_job, of_run = f"(g.n / {JOBS_OF_RUN})", f"(g.n * {JOBS_OF_RUN})"
    uniform = _UNIFORM[kind]
    is_failed = f"g.n % {FAILED} = 0"
    runs = -(-jobs // JOBS_OF_RUN)
    return [
        "INSERT INTO job_metrics (job_id, process_id, command_name, execution_time, queue_time, "
        "memory_usage, status, outcome, engine, queue, job_class, finished_at, version, "
        f"created_at, updated_at) SELECT {_ID[kind]}, {run(of_job)}, {command(of_job)}, {uniform}, "
        f"{uniform}, 40000000 + g.n, CASE WHEN {is_failed} THEN 'failed' ELSE 'success' END, "
        f"CASE WHEN {is_failed} THEN 'failed' ELSE 'completed' END, 'celery', 'default', "
        f"'app.tasks.work', {at('g.n')}, 1, {at('g.n')}, {at('g.n')} FROM {numbers(jobs)}",
        "INSERT INTO command_metrics (process_id, command_name, status, job_count, success_jobs, "
        "total_time, peak_memory, run_date, started_at, finished_at, partial, version, "
        f"created_at, updated_at) SELECT {run('g.n')}, {command('g.n')}, 'completed', "
        f"{JOBS_OF_RUN}, {JOBS_OF_RUN}, 100 * {uniform}, 40000000, date({at(of_run)}), "
        f"{at(of_run)}, {at(of_run)}, false, 1, {at(of_run)}, {at(of_run)} FROM {numbers(runs)}",
        "INSERT INTO failed_jobs (uuid, connection, queue, payload, exception, failed_at, "
        "process_id, command_name, version) SELECT job_id, 'celery', queue, '{}', 'ValueError: x', "
        "finished_at, process_id, command_name, 1 FROM job_metrics WHERE status = 'failed' "
        "ORDER BY id DESC",
    ]
