"""Rows from what is stored: whatever that is, a row that a database takes, or one kind of error."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobmon.history import rows
from jobmon.history.fields import LATEST, MOST_COUNTED, UnreadableError, clean, dumped
from jobmon.history.schema import tables

NOW = datetime(2025, 8, 3, 12, tzinfo=UTC)
OWN = tables("")
NAMES = (
    *("status", "attempt", "v", "outcome", "queue", "class", "engine", "error", "arguments"),
    *("execution_time", "queue_time", "memory_usage", "enqueued_at", "finished_at", "trace_id"),
    *("app", "command_name", "retry_of", "pid", "duration", "source", "due_at", "options"),
)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
COUNTERS = ("job_count", "peak_memory", "total_job_time", "born", "version", "exit_code")

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("a1\0\ud800\udfff\x1b\né\u20ac\U0001f600")
)
values = st.recursive(
    scalars | st.sampled_from(["completed", "failed", "lost", "retried"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
records = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(NAMES, values)
    | {
        "status": st.sampled_from(["completed", "failed", "lost", "revoked"]) | values,
        "attempt": st.just(1) | st.integers() | values,
        "v": st.just(1) | values,
        "error": values
        | st.fixed_dictionaries(
            {}, optional={"class": values, "message": values, "frames": values}
        ),
    },
)


def fits(row: rows.Row, table: sa.Table) -> None:
    """Every value is one of its column's type, not longer, not larger."""
    for name, value in row.items():
        column = table.c[name]
        if value is None:
            assert column.nullable or name == "status", name
            continue
        if isinstance(column.type, sa.String):
            assert type(value) is str, name
            assert "\0" not in value
            value.encode()
            if name not in ("process_id", "job_id", "uuid"):
                assert len(value) <= (column.type.length or len(value)), name
        elif isinstance(column.type, sa.Boolean):
            assert type(value) is bool
        elif isinstance(column.type, sa.BigInteger):
            assert type(value) is int
            assert abs(value) < 1 << 63, name
        elif isinstance(column.type, sa.Integer):
            assert type(value) is int
            assert abs(value) < 1 << 31, name
        elif isinstance(column.type, sa.Float):
            assert 0 <= value < 1e12, name
        elif isinstance(column.type, sa.Date):
            assert isinstance(value, date)


def built(raw: bytes) -> list[tuple[rows.Row, sa.Table]]:
    """What is made of a record."""
    found: list[tuple[rows.Row, sa.Table]] = []
    with suppress(UnreadableError):
        found.append((rows.attempt("p", "j", 1, raw, NOW), OWN.job_attempts))
    with suppress(UnreadableError):
        record = rows.read(raw)
        with suppress(UnreadableError):
            found.append((rows.failed("p", "j", 1, record, None), OWN.failed_jobs))
        row = rows.job("p", "j", 1, record, NOW)
        if row is not None:
            found.append((row, OWN.job_metrics))
    return found


@patient
@given(records)
def test_a_record_of_any_members_is_rows_that_fit_or_unreadable(record: dict[str, Any]) -> None:
    for row, table in built(json.dumps(record).encode()):
        fits(row, table)
        if table is OWN.failed_jobs:
            json.loads(row["payload"], parse_constant=_no_number)


@patient
@given(st.binary() | st.text().map(str.encode))
def test_bytes_of_any_kind_are_unreadable(raw: bytes) -> None:
    with pytest.raises(UnreadableError):
        rows.read(raw)
    assert built(raw) == []


def test_a_record_of_a_job_that_failed_is_a_row_of_each_table() -> None:
    found = built(b'{"status":"failed","attempt":2,"queue":"q","execution_time":1.5}')
    assert [table for _, table in found] == [OWN.job_attempts, OWN.failed_jobs, OWN.job_metrics]
    for row, table in found:
        fits(row, table)


@patient
@given(st.dictionaries(st.sampled_from([*COUNTERS, "status", "started_at"]), st.text()), records)
def test_a_run_of_any_fields_is_a_row_that_fits_or_unreadable(
    known: dict[str, str], record: dict[str, Any]
) -> None:
    with suppress(UnreadableError):
        row = rows.run("p", "c", 1, {**known, "run": json.dumps(record)}, NOW)
        fits(row, OWN.command_metrics)


@patient
@given(
    st.dictionaries(
        st.sampled_from([*COUNTERS, "started_at", "finished_at"]),
        st.integers().map(str) | st.floats().map(str),
    )
)
def test_so_is_a_run_of_any_numbers(known: dict[str, str]) -> None:
    with suppress(UnreadableError):
        fits(rows.run("p", "c", 1, known, NOW), OWN.command_metrics)


@patient
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(rows.COUNTERS, st.integers(0, MOST_COUNTED).map(str))
        | dict.fromkeys(("peak_memory", "born", "version"), st.integers(0, 10**15).map(str))
        | dict.fromkeys(("total_job_time", "started_at"), st.floats(0, LATEST).map(str))
        | {
            "exit_code": st.integers(-MOST_COUNTED, MOST_COUNTED).map(str),
            "status": st.sampled_from(["running", "completed", "failed", "lost"]),
            "run": st.floats(0, LATEST).map(lambda seconds: json.dumps({"duration": seconds})),
        },
    )
)
def test_a_run_of_numbers_in_their_range_is_a_row(known: dict[str, str]) -> None:
    row = rows.run("p", "c", 1, known, NOW)
    fits(row, OWN.command_metrics)
    assert {name: row[name] for name in rows.COUNTERS} == {
        name: int(known.get(name, "0")) for name in rows.COUNTERS
    }


@pytest.mark.parametrize(
    ("ahead", "version", "shown"),
    [
        (365 * 86_400.0, 9.0, (0.0, 9.0, 9.0)),
        (365 * 86_400.0, 60.0, (0.0, 60.0, 60.0)),  # a job's memory was told later
        (2.0, 1.0, (0.0, 1.0, 1.0)),
        (2.0, 9.0, (2.0, 10.0, 11.0)),  # the run has outlasted the difference
        (-2.0, 9.0, (-2.0, 6.0, 7.0)),
        (-365 * 86_400.0, 9.0, (-365 * 86_400.0, 8.0 - 365 * 86_400, 9.0 - 365 * 86_400)),
    ],
)
def test_a_run_of_a_clock_that_is_ahead_began_when_the_store_heard_of_it(
    ahead: float, version: float, shown: tuple[float, ...]
) -> None:
    began = NOW.timestamp()
    known = {"born": f"{began * 1e6:.0f}", "run": '{"duration":8.0}'}
    for name, after in (("started_at", 0), ("finished_at", 8), ("drained_at", 9)):
        known[name] = repr(began + ahead + after)
    row = rows.run("p", "c", round((began + version) * 1e6), known, NOW)
    names = ("started_at", "finished_at", "drained_at")
    assert tuple((row[name] - NOW).total_seconds() for name in names) == shown
    assert (row["duration"], row["run_date"]) == (8.0, row["started_at"].date())


def test_what_is_no_number_of_json_is_text_in_it() -> None:
    assert dumped([float("nan"), float("-inf"), 1.5, "é"]) == '["NaN","-Infinity",1.5,"é"]'
    assert clean("a\0\ud800é") == "a\ufffd?é"


def test_an_exception_is_shown_as_python_does() -> None:
    error = {
        "class": "app.Broken",
        "message": "no",
        "frames": [{"file": "a.py", "line": 3, "function": "f", "code": "g()"}, 7, {"line": []}],
    }
    row = rows.failed("p", "j", 1, rows.JobRecord({"error": error}, "failed", 1), None)
    assert row["exception"].splitlines() == [
        "app.Broken: no",
        '  File "a.py", line 3, in f',
        "    g()",
        '  File "", line , in ',
    ]


def _no_number(text: str) -> None:
    raise AssertionError(text)
