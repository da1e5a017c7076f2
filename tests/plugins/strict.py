"""``JOBMON_TEST_STRICT=1`` turns every skip into a failure: in CI nothing stays unproven."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

_STRICT = os.environ.get("JOBMON_TEST_STRICT") == "1"


def pytest_report_header() -> str:
    return f"skips: {'fail (JOBMON_TEST_STRICT=1)' if _STRICT else 'allowed, listed at the end'}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure also reports itself as skipped.
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: Any) -> None:
    if _STRICT and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nJOBMON_TEST_STRICT=1 allows no skip"
