"""Workers and schedulers: who lives, and what they have to do."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source import problems
from grafana.source.boards import ENGINES, Section, board
from grafana.source.expressions import (
    ENGINE,
    added,
    age,
    counted,
    increase,
    moment,
    newest,
    total,
)
from grafana.source.panels import Query, graph, stat_of, timeline
from grafana.source.parts import BAD_FROM_ONE, HALF, ORANGE, QUARTER, RED, THIRD, UP, Panel
from grafana.source.tables import Column, table_of

ONE = ("engine", "worker")


def workers() -> model.Dashboard:
    """``jobmon-workers``."""
    return board(
        "workers",
        "Workers and schedulers",
        "Who lives, how much they have to do, and what is due when.",
        [
            Section("Is anything wrong now?", _now()),
            Section("Which worker, and since when?", _workers()),
            Section("Is it normal?", _normal()),
            Section("Schedulers", _schedulers()),
        ],
        variables=[ENGINES],
    )


def known(family: str) -> str:
    """A gauge of each worker."""
    return newest(f"jobmon_worker_{family}", ENGINE, *ONE)


def _now() -> list[Panel]:
    return [
        stat_of(
            "Workers",
            "Workers that live. Good: as many as were started.",
            added(known("up")),
            width=QUARTER,
        ),
        stat_of(
            "Workers lost",
            "Workers that fell silent in the last 10 minutes; one that was stopped is none. "
            "Good: 0.",
            counted(problems.workers_down(ENGINE)),
            steps=BAD_FROM_ONE,
            width=QUARTER,
        ),
        stat_of(
            "Busy",
            "Share of all slots that run a job. Good: below 90 %; at 100 % jobs have to wait.",
            f"sum({known('slots_busy')}) / sum({known('slots')})",
            unit=units.PercentUnit,
            steps=((0.9, ORANGE), (1, RED)),
            width=QUARTER,
        ),
        stat_of(
            "Schedulers down",
            "Schedulers whose loop does not turn, so nothing that they send will start. Good: 0.",
            counted(problems.schedulers_down(ENGINE)),
            steps=BAD_FROM_ONE,
            width=QUARTER,
        ),
    ]


def _workers() -> list[Panel]:
    return [
        table_of(
            "Workers",
            "Each worker that lives or was lost just now. Good: up, heard of seconds ago.",
            {
                "app": "Application",
                "engine": "Engine",
                "worker": "Worker",
                "hostname": "Host",
                "version": "Version",
                "queues": "Queues",
            },
            Column("State", known("up"), states=UP),
            Column(
                "Heard of", moment(known("last_heartbeat_timestamp_seconds")), units.DateTimeFromNow
            ),
            Column("Busy", known("slots_busy")),
            Column("Slots", known("slots")),
            Column("Memory", known("resident_memory_bytes"), units.BytesIEC),
            about=newest("jobmon_worker_info", ENGINE, *ONE, "hostname", "version", "queues"),
            sorted_by="State",
            descending=False,
        ),
        timeline(
            "When they lived",
            "A worker that is stopped leaves; one that is lost turns red for 10 minutes. "
            "Good: green.",
            known("up"),
            "{{worker}}",
            UP,
        ),
    ]


def _normal() -> list[Panel]:
    return [
        graph(
            "Busy slots",
            "Jobs that each engine's workers run; dashed: how many they can. Good: below the line.",
            Query(total("jobmon_worker_slots_busy", ENGINE, "engine"), "{{engine}}, busy"),
            Query(total("jobmon_worker_slots", ENGINE, "engine"), "{{engine}}", is_bound=True),
            width=THIRD,
        ),
        graph(
            "Memory",
            "What the main process of each worker holds, without its children. Good: level.",
            Query(known("resident_memory_bytes"), "{{worker}}"),
            unit=units.BytesIEC,
            width=THIRD,
        ),
        graph(
            "Lost workers",
            "Workers that fell silent. Good: none.",
            Query(increase("jobmon_workers_lost_total", ENGINE, "engine"), "{{engine}}"),
            bars=True,
            width=THIRD,
        ),
    ]


def _schedulers() -> list[Panel]:
    def of(family: str) -> str:
        return newest(f"jobmon_scheduler_{family}", ENGINE, *problems.SCHEDULER)

    labels = {
        "app": "Application",
        "engine": "Engine",
        "kind": "Kind",
        "scheduler": "Scheduler",
    }
    due = newest(
        "jobmon_schedule_entry_next_due_timestamp_seconds",
        ENGINE,
        "engine",
        "kind",
        "scheduler",
        "command",
    )
    return [
        table_of(
            "Schedulers",
            "Each scheduler that was seen within a week. Good: up, seen seconds ago.",
            {**labels, "hostname": "Host"},
            Column("State", of("up"), states=UP),
            Column("Seen", moment(of("last_seen_timestamp_seconds")), units.DateTimeFromNow),
            Column("Entries", of("entries")),
            sorted_by="State",
            descending=False,
            width=HALF,
        ),
        table_of(
            "What is due",
            "When each entry is to be sent next. Good: in the future.",
            {**labels, "command": "Command"},
            Column("Next", moment(due), units.DateTimeFromNow),
            sorted_by="Next",
            descending=False,
            links={"Command": "command/command"},
            width=HALF,
        ),
        timeline(
            "When schedulers lived",
            "Good: green.",
            of("up"),
            "{{scheduler}} on {{hostname}}",
            UP,
            width=HALF,
        ),
        graph(
            "Overdue",
            "How long ago the entry that waits longest should have been sent. Good: below "
            "0, which is in the future.",
            Query(f"max by (app, scheduler) ({age(due)})", "{{scheduler}}"),
            unit=units.Seconds,
            smallest=None,
        ),
    ]
