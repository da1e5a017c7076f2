"""The benchmark of pages reads a history that is what it says; its numbers are the benchmark's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pages import __main__ as benchmark
from benchmarks.pages.filled import COMMANDS, FAILED, JOBS_OF_RUN
from jobmon.history.read import HistoryReader
from tests.databases import made


@pytest.mark.parametrize("kind", benchmark.KINDS)
def test_a_history_is_filled_and_read(kind: str, tmp_path: Path) -> None:
    jobs = 2 * JOBS_OF_RUN * COMMANDS
    with made(kind, tmp_path), benchmark.filled(kind, jobs, tmp_path) as (engine, took):
        assert took > 0
        reader = HistoryReader(engine, benchmark.OWN)
        statistics = reader.job_statistics(benchmark.since())
        assert (statistics.total_jobs, statistics.failed_jobs) == (jobs, jobs // FAILED)
        assert reader.jobs(benchmark.since(), 0, 1, command=benchmark.COMMAND).total == (
            2 * JOBS_OF_RUN
        )
        assert reader.runs(None, benchmark.since(), 0, 1).total == jobs // JOBS_OF_RUN
        assert reader.failed_jobs(0, 1).total == jobs // FAILED
        calls = benchmark.judged(engine)
        assert benchmark.milliseconds(calls, 1).keys() == calls.keys()
        for name, call in calls.items():
            if " page of " in name:
                page = call()
                assert len(page.rows) == (1 if name.startswith("runs") else benchmark.LIMIT)
