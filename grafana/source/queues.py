"""Queues: what waits in the broker, for how long, and who serves it."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source import problems
from grafana.source.boards import JOB_ENGINES, QUEUES, Section, anomalies, board
from grafana.source.expressions import (
    ENGINE,
    PERIOD,
    QUEUE,
    added,
    age,
    counted,
    increase,
    newest,
    quantile,
    rate,
    total,
)
from grafana.source.panels import Query, graph, heatmap_of, stat_of
from grafana.source.parts import BAD_FROM_ONE, ORANGE, QUARTER, RATE, RED, THIRD, Panel
from grafana.source.tables import Column, table_of

WAITS = "jobmon_job_queue_time_seconds"


def queues() -> model.Dashboard:
    """``jobmon-queues``."""
    return board(
        "queues",
        "Queues",
        "What waits, for how long, and whether anybody takes it.",
        [
            Section("Is anything wrong now?", _now()),
            Section("Which queue?", [_all()]),
            Section("Since when?", _since()),
            Section("Is it normal?", _normal()),
        ],
        variables=[JOB_ENGINES, QUEUES],
        marks=[anomalies()],
    )


def _oldest() -> str:
    moment = newest("jobmon_queue_oldest_job_timestamp_seconds", QUEUE, "engine", "queue")
    return f"({age(moment)})"


def _now() -> list[Panel]:
    polled = newest("jobmon_queue_polled_timestamp_seconds", ENGINE, "engine")
    waiting = newest("jobmon_queue_jobs", f'{QUEUE}, state="waiting"', "engine", "queue")
    return [
        stat_of(
            "Waiting",
            "Jobs in the broker that could run. Good: it comes back to about 0.",
            added(waiting),
            width=QUARTER,
        ),
        stat_of(
            "Oldest job",
            "How long the oldest job that could run has waited, of the brokers that tell. "
            "Good: seconds.",
            f"max({_oldest()})",
            unit=units.Seconds,
            steps=((60, ORANGE), (900, RED)),
            absent="none waits",
            width=QUARTER,
        ),
        stat_of(
            "Without workers",
            "Queues in which jobs wait and that no worker serves. Good: 0.",
            counted(problems.without_workers(QUEUE)),
            steps=BAD_FROM_ONE,
            leads_to="workers",
            width=QUARTER,
        ),
        stat_of(
            "Brokers read",
            "Time since the broker was last read: what is shown here is as old. "
            "Good: less than a minute.",
            f"max({age(polled)})",
            unit=units.Seconds,
            steps=((60, ORANGE), (300, RED)),
            absent="not read",
            width=QUARTER,
        ),
    ]


def _all() -> Panel:
    def jobs(state: str) -> str:
        return newest("jobmon_queue_jobs", f'{QUEUE}, state="{state}"', "engine", "queue")

    return table_of(
        "Queues",
        "Where jobs wait, and who serves it. Good: workers for each, waits below their bound.",
        {"app": "Application", "engine": "Engine", "queue": "Queue"},
        Column("Waiting", jobs("waiting")),
        Column("Scheduled", jobs("scheduled")),
        Column("Deferred", jobs("deferred")),
        Column("Reserved", jobs("reserved")),
        Column("Failed", jobs("failed")),
        Column("Oldest", _oldest(), units.Seconds, steps=((60, ORANGE), (900, RED))),
        Column("Workers", newest("jobmon_queue_workers", QUEUE, "engine", "queue")),
        Column("Slots", newest("jobmon_queue_slots", QUEUE, "engine", "queue")),
        Column(
            "19 of 20 waited",
            quantile(0.95, WAITS, QUEUE, "engine", "queue", over=PERIOD),
            units.Seconds,
        ),
        Column(
            "Usual at most",
            newest("jobmon_queue_time_upper_bound_seconds", QUEUE, "engine", "queue"),
            units.Seconds,
        ),
        sorted_by="Waiting",
        links={"Queue": "jobs/queue"},
    )


def _since() -> list[Panel]:
    waiting = f'{QUEUE}, state="waiting"'
    return [
        graph(
            "Waiting",
            "Jobs in each queue that could run. Good: it comes back to about 0.",
            Query(total("jobmon_queue_jobs", waiting, "queue"), "{{queue}}"),
            stacked=True,
            width=THIRD,
        ),
        graph(
            "Oldest job",
            "How long the oldest job has waited. Good: seconds; a line that climbs is a queue "
            "that nobody takes from.",
            Query(_oldest(), "{{queue}}"),
            unit=units.Seconds,
            width=THIRD,
        ),
        graph(
            "Published and started",
            "Attempts a second, by queue. Good: as many start as are published.",
            Query(rate("jobmon_jobs_enqueued_total", QUEUE, "queue"), "{{queue}}, published"),
            Query(rate("jobmon_jobs_started_total", QUEUE, "queue"), "{{queue}}, started"),
            unit=RATE,
            width=THIRD,
        ),
    ]


def _normal() -> list[Panel]:
    return [
        graph(
            "Time in the queue",
            "How long 19 of 20 jobs waited at most; dashed: the longest that is usual, of which "
            "the alert compares 5 minutes. Good: below the dashed line.",
            Query(quantile(0.95, WAITS, QUEUE, "engine", "queue"), "{{queue}}"),
            Query(
                newest("jobmon_queue_time_upper_bound_seconds", QUEUE, "engine", "queue"),
                "{{queue}}, usual at most",
                is_bound=True,
            ),
            unit=units.Seconds,
        ),
        heatmap_of(
            "Times in queues", "How many jobs waited how long. Good: one band, low.", WAITS, QUEUE
        ),
        graph(
            "Jobs by state",
            "Jobs in the brokers: waiting for a worker, for a moment or for another job, taken "
            "but not started, failed and kept. Good: nothing that only grows.",
            Query(total("jobmon_queue_jobs", QUEUE, "state"), "{{state}}"),
            stacked=True,
            width=THIRD,
        ),
        graph(
            "Workers and slots",
            "Who serves each queue, and how many jobs they can run at a time. Good: level.",
            Query(newest("jobmon_queue_workers", QUEUE, "engine", "queue"), "{{queue}}, workers"),
            Query(newest("jobmon_queue_slots", QUEUE, "engine", "queue"), "{{queue}}, slots"),
            stepped=True,
            width=THIRD,
        ),
        graph(
            "Brokers that could not be read",
            "Attempts that failed. Good: 0.",
            Query(
                increase("jobmon_queue_poll_errors_total", ENGINE, "engine"),
                "{{engine}}",
            ),
            bars=True,
            width=THIRD,
        ),
    ]
