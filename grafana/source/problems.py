"""What may be wrong, as expressions: a series for each thing that is wrong, and no other."""

from __future__ import annotations

from typing import Final

from grafana.source.expressions import APP, newest


def expected(where: str) -> str:
    """The moment until which a command's next run has to start: when it is due, and a margin.

    As `JobmonCommandMissed` has it: five minutes where none is known.
    """
    due = newest("jobmon_command_next_expected_timestamp_seconds", where, "command")
    grace = newest("jobmon_command_grace_seconds", where, "command")
    return f"({due} + ({grace} or on (app, command) {due} * 0 + 300))"


def late(where: str = APP) -> str:
    """Commands that have not started in time, with the moment until which they should have."""
    return f"({expected(where)} < time())"


def failed(where: str = APP) -> str:
    """Commands whose last run did not complete, with the moment at which it ended."""
    ended = newest("jobmon_command_last_end_timestamp_seconds", where, "command")
    bad = newest("jobmon_command_last_run_failed", where, "command")
    return f"({ended} and on (app, command) {bad} == 1)"


def too_long(where: str = APP) -> str:
    """Commands that run for longer than they used to, with the moment since when they do."""
    started = newest("jobmon_command_oldest_running_start_timestamp_seconds", where, "command")
    bound = newest("jobmon_command_duration_upper_bound_seconds", where, "command")
    return f"({started} + on (app, command) {bound} < time())"


def unusual(where: str = APP) -> str:
    """What is not as usual."""
    return f"({newest('jobmon_anomaly_active', where, 'scope', 'name', 'signal')} == 1)"


def workers_down(where: str = APP) -> str:
    """Workers taken for lost in the last 10 minutes."""
    return f"({newest('jobmon_worker_up', where, 'engine', 'worker')} == 0)"


def schedulers_down(where: str = APP) -> str:
    """Schedulers whose loop does not turn."""
    return f"({newest('jobmon_scheduler_up', where, *SCHEDULER)} == 0)"


def without_workers(where: str = APP) -> str:
    """Queues in which jobs wait and that no worker serves, with their number of jobs."""
    waiting = newest("jobmon_queue_jobs", f'{where}, state="waiting"', "engine", "queue")
    served = newest("jobmon_queue_workers", where, "engine", "queue")
    return f"({waiting} > 0 unless on (app, engine, queue) {served} > 0)"


def late_jobs(where: str = APP) -> str:
    """Jobs that wait or run for longer than the settings allow, by queue."""
    waiting = newest("jobmon_jobs_pending_late", where, "engine", "queue")
    running = newest("jobmon_jobs_in_progress_late", where, "engine", "queue")
    return f"({waiting} + on (app, engine, queue) {running})"


SCHEDULER: Final = ("engine", "kind", "scheduler", "hostname")
"""Labels that tell schedulers apart."""


def state_of(where: str) -> str:
    """A command's state, as in ``STATES``."""
    running = f"({newest('jobmon_command_runs_in_progress', where, 'command')} > bool 0)"
    bad = newest("jobmon_command_last_run_failed", where, "command")
    return f"{running} + 2 * ({bad} or 0 * {running})"


STATES: Final = {
    0: ("last run was well", "green"),
    1: ("running", "blue"),
    2: ("last run failed", "red"),
    3: ("running, last run failed", "orange"),
}
