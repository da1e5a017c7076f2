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


def test_settings_of_the_call_go_before_the_environment() -> None:
    run(
        """
        import os
        os.environ |= {"JOB_MONITOR_APP": "shop", "JOB_MONITOR_ENVIRONMENT": "stage"}
        import jobmon
        from jobmon.instrument import recorder
        jobmon.instrument({"app": "crm", "tracking_ttl": "soon"})
        settings = recorder.own().settings
        assert (settings.app, settings.environment) == ("crm", "stage")
        assert settings.tracking_ttl == 86400
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


def test_uninstrumenting_restores_every_scheduler() -> None:
    run(
        """
        import celery.beat, rq.scheduler
        from redbeat import RedBeatScheduler
        classes = [celery.beat.Scheduler, celery.beat.Service, RedBeatScheduler,
                   rq.scheduler.RQScheduler]
        try:
            from rq import cron
            classes += [cron.CronScheduler, cron.CronJob]
        except ImportError:
            pass  # new in RQ 2.4
        owned = [dict(vars(owner)) for owner in classes]
        import jobmon
        jobmon.instrument()
        from jobmon.instrument import celery_beat
        celery_beat._patches.wrap([RedBeatScheduler], celery_beat._SCHEDULER_HOOKS)
        for owner, before in zip(classes, owned):
            assert dict(vars(owner)) != before, owner
        jobmon.uninstrument()
        assert [dict(vars(owner)) for owner in classes] == owned
        """
    )


def test_uninstrumenting_leaves_every_attribute_of_every_library_as_it_was() -> None:
    run(
        """
        import sys, types
        import celery, click, redbeat, rq.cli, typer, django.core.management
        import celery.app.trace, celery.beat, celery.signals, celery.worker.consumer.consumer
        import celery.worker.request, celery.worker.strategy, rq.registry, rq.scheduler, rq.worker
        from celery.utils.dispatch import Signal
        DESCRIPTORS = (classmethod, staticmethod, property)
        LIBRARIES = ("billiard", "celery", "click", "django", "kombu", "redbeat", "rq", "typer")

        def attributes():
            # By type(), since isinstance() wakes lazy objects.
            found = {}
            for name, module in list(sys.modules.items()):
                if name.partition(".")[0] not in LIBRARIES or type(module) is not types.ModuleType:
                    continue
                for key, value in list(vars(module).items()):
                    if type(value) is types.FunctionType:
                        found[name, key] = id(value)
                    elif type(value) is Signal:
                        found[name, key] = [id(receiver) for _, receiver in value.receivers or ()]
                    elif issubclass(type(value), type) and value.__module__ == name:
                        found |= {(name, key, own): id(held) for own, held in vars(value).items()
                                  if callable(held) or type(held) in DESCRIPTORS}
            return found

        celery.Celery("before", broker="memory://").Worker(pool="solo")  # loads what it needs
        before = attributes()
        import jobmon
        jobmon.instrument()
        app = celery.Celery("test", broker="memory://")
        app.Worker(pool="solo")
        changed = {key for key, held in attributes().items() if before.get(key, held) != held}
        assert {key[0].partition(".")[0] for key in changed} >= {
            "celery", "click", "django", "rq", "typer"}, changed
        jobmon.uninstrument()
        after = attributes()
        left = {key for key, held in before.items() if after.get(key) != held}
        assert not left, left
        new = {key for key in after.keys() - before.keys() if len(key) == 3}
        assert not new, new
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


def test_no_library_is_imported_for_its_hooks() -> None:
    run(
        """
        import sys, jobmon
        jobmon.instrument()
        hooked = {"celery", "rq", "click", "typer", "django"}
        assert not hooked & set(sys.modules)
        assert not [name for name in sys.modules if name.startswith("opentelemetry")]
        ours = {f"jobmon.instrument.{name}" for name in ("click", "django", "invocation")}
        assert not ours & set(sys.modules)
        import click
        assert ours - set(sys.modules) == {"jobmon.instrument.django"}
        """
    )
