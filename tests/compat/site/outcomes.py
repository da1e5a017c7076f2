"""Plugin of the suites' pytest: writes how each test ended, a JSON list per line."""

import json
import os
import signal
import sys

import pytest

OUTCOMES = os.environ["COMPAT_OUTCOMES"]  # a test may be about to empty the environment


def pytest_sessionstart(session):
    if os.environ.get("COMPAT_REDIS_PORT"):
        import redis

        with redis.Redis() as client:
            assert client.connection_pool.connection_kwargs["port"] != 6379
    assert ("jobmon.instrument" in sys.modules) == bool(os.environ.get("COMPAT_JOBMON"))
    if os.environ.get("COMPAT_JOBMON"):
        # Celery's suite allows a test no thread that was not there before the first one, and
        # some of its tests send the signal with which a worker's main process starts.
        import jobmon
        from jobmon.instrument import recorder

        recorder.open_handover()
        with jobmon.command("compat"):
            pass


def pytest_runtest_logreport(report):
    _tell(report.nodeid, report)


def pytest_collectreport(report):
    if not report.passed:
        _tell(report.nodeid, report)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    # Processes that tests left running would be waited for.
    sys.stdout.flush()
    os.killpg(0, signal.SIGKILL)


def _tell(nodeid, report):
    outcome = "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome
    with open(OUTCOMES, "a") as told:
        told.write(json.dumps([nodeid, outcome]) + "\n")
