"""Families of the way into the history: what waits, what was copied or lost, and who works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from jobmon.metrics.family import Family, Sample
from jobmon.store.state import Totals
from jobmon.store.sync_state import SyncState

_TABLES: Final = ("command_metrics", "failed_jobs", "job_metrics")


def _one(value_of: Callable[[SyncState], float | None]) -> Callable[[Totals], Iterable[Sample]]:
    """One series; none while its value is unknown."""

    def read(totals: Totals) -> Iterator[Sample]:
        value = value_of(totals.sync)
        if value is not None:
            yield (), value

    return read


def _enabled(totals: Totals) -> Iterable[Sample]:
    return [((), float(totals.is_sync_enabled))]


def _rows(totals: Totals) -> Iterable[Sample]:
    # Shown from 0 on, so that `increase()` sees the first ones.
    counts = dict.fromkeys(_TABLES, 0) | dict(totals.sync.rows)
    return (((table,), count) for table, count in sorted(counts.items()))


def _held(totals: Totals) -> Iterator[Sample]:
    for lease, holder in totals.sync.holders.items():
        yield (lease,), float(holder is not None)


def _holders(totals: Totals) -> Iterator[Sample]:
    for lease, holder in totals.sync.holders.items():
        if holder is not None:
            yield (lease, holder.host, str(holder.pid)), 1.0


FAMILIES: Final = (
    Family(
        "jobmon_sync_enabled",
        "gauge",
        "1 if runs and jobs are to be copied (`sync.enabled` of who answers), otherwise 0.",
        (),
        _enabled,
    ),
    Family(
        "jobmon_sync_last_success_timestamp_seconds",
        "gauge",
        "When a pass last ended that had copied everything; absent before the first.",
        (),
        _one(lambda state: state.succeeded_at),
    ),
    Family(
        "jobmon_sync_last_duration_seconds",
        "gauge",
        "How long that pass took.",
        (),
        _one(lambda state: state.duration),
    ),
    Family(
        "jobmon_sync_rows_total",
        "counter",
        "Rows copied, by table; one that changes is copied again.",
        ("table",),
        _rows,
    ),
    Family(
        "jobmon_sync_unsynced",
        "gauge",
        "Runs, and jobs without one, that changed since they were copied.",
        (),
        _one(lambda state: float(state.unsynced)),
    ),
    Family(
        "jobmon_sync_oldest_unsynced_timestamp_seconds",
        "gauge",
        "When the one of them changed that waits longest; absent while nothing waits.",
        (),
        _one(lambda state: state.oldest_unsynced_at),
    ),
    Family(
        "jobmon_sync_failures_waiting",
        "gauge",
        "Jobs of which the table of failed jobs is to be told.",
        (),
        _one(lambda state: float(state.failures_waiting)),
    ),
    Family(
        "jobmon_expired_unsynced_total",
        "counter",
        "Runs, and jobs without one, that expired before they were copied.",
        (),
        _one(lambda state: float(state.expired_unsynced)),
    ),
    Family(
        "jobmon_expired_failures_total",
        "counter",
        "Failed jobs that expired before they were copied.",
        (),
        _one(lambda state: float(state.expired_failures)),
    ),
    Family(
        "jobmon_dead_letters_kept",
        "gauge",
        "Records that were set aside because they could not be copied, at most 1000.",
        (),
        _one(lambda state: float(state.dead_letters)),
    ),
    Family(
        "jobmon_dead_letters_total",
        "counter",
        "Records that were set aside so far.",
        (),
        _one(lambda state: float(state.dead_letters_ever)),
    ),
    Family(
        "jobmon_lease_held",
        "gauge",
        "1 while a server holds the lease: leader, for the work that is done once; sync, for a "
        "pass of the sync.",
        ("lease",),
        _held,
    ),
    Family(
        "jobmon_lease_info",
        "gauge",
        "1, with who holds the lease.",
        ("lease", "hostname", "pid"),
        _holders,
    ),
)
