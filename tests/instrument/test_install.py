"""Instrumenting once, and taking it back."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(program: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_instrumenting_twice_is_instrumenting_once() -> None:
    run(
        """
        import celery.signals, rq, jobmon
        jobmon.instrument()
        receivers, create = len(celery.signals.task_prerun.receivers), rq.job.Job.create
        jobmon.instrument()
        assert len(celery.signals.task_prerun.receivers) == receivers == 1
        assert rq.job.Job.create == create
        """
    )


def test_uninstrumenting_restores_both_engines() -> None:
    run(
        """
        import celery.signals, rq
        names = [name for name in dir(celery.signals) if name.startswith(("task_", "worker_"))]
        signals = [getattr(celery.signals, name) for name in names]
        before = [len(signal.receivers or ()) for signal in signals]
        classes = [rq.job.Job, rq.Queue, rq.Worker, rq.SimpleWorker, *rq.Worker.__mro__]
        owned = [dict(vars(owner)) for owner in classes]
        import jobmon
        jobmon.instrument()
        assert [dict(vars(owner)) for owner in classes] != owned
        jobmon.uninstrument()
        assert [dict(vars(owner)) for owner in classes] == owned
        assert [len(signal.receivers or ()) for signal in signals] == before
        """
    )


def test_the_name_works_whatever_was_imported_first() -> None:
    run(
        """
        import jobmon.instrument.celery
        import jobmon
        jobmon.instrument()
        from jobmon import instrument
        instrument()
        assert callable(jobmon.command)
        """
    )
