"""jobmon itself: whether what the other dashboards show is whole and new."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source.boards import Section, board
from grafana.source.expressions import (
    APP,
    PERIOD,
    added,
    age,
    increase,
    newest,
    rate,
    total,
)
from grafana.source.expressions import RATE as OVER
from grafana.source.panels import Query, graph, stat_of, timeline
from grafana.source.parts import (
    BAD_FROM_ONE,
    GREEN,
    HALF,
    ORANGE,
    QUARTER,
    RATE,
    RED,
    THIRD,
    UP,
    Panel,
)
from grafana.source.tables import Column, table_of

LEADER = f'{APP}, lease="leader"'


def health() -> model.Dashboard:
    """``jobmon-health``."""
    return board(
        "health",
        "Health of jobmon",
        "Whether what the other dashboards show is whole and new.",
        [
            Section("Is anything wrong now?", _now()),
            Section("What was lost?", _lost()),
            Section("The history", _history()),
            Section("Who is told", _deliveries()),
            Section("Servers and scrapes", _servers()),
        ],
    )


def known(family: str, *by: str) -> str:
    """A gauge of what all servers share."""
    return newest(f"jobmon_{family}", APP, *by)


def lost(family: str, *by: str, over: str = PERIOD) -> str:
    """A counter of what should not happen, in the time shown."""
    return increase(f"jobmon_{family}", APP, *by, over=over)


def _now() -> list[Panel]:
    return [
        stat_of(
            "Leader",
            "Whether a server leads, which copies, judges and tells. Good: one leads.",
            f"min({newest('jobmon_lease_held', LEADER)})",
            states={0: ("nobody", RED), 1: ("one leads", GREEN)},
            absent="not scraped",
        ),
        stat_of(
            "Copied",
            "Time since everything was last copied to the history. Good: not much more than "
            "`sync.interval_minutes`.",
            f"max({age(known('sync_last_success_timestamp_seconds'))}"
            f" and on (app) {known('sync_enabled')} == 1)",
            unit=units.Seconds,
            steps=((900, ORANGE), (3600, RED)),
            absent="never, or not wanted",
        ),
        stat_of(
            "Lost changes",
            "Changes of status that did not reach the store, in the time shown. Good: 0.",
            added(lost("transitions_dropped_total", "reason")),
            steps=((0.5, RED),),
            decimals=0,
        ),
        stat_of(
            "Expired",
            "What Redis dropped before it was copied, in the time shown: the history has a "
            "hole. Good: 0.",
            f"sum({lost('expired_unsynced_total')} + {lost('expired_failures_total')})",
            steps=((0.5, RED),),
            decimals=0,
        ),
        stat_of(
            "Set aside",
            "Records that could not be copied and wait for somebody: `jobmon sync`, "
            "`jobmon doctor`. Good: 0.",
            added(known("dead_letters_kept")),
            steps=BAD_FROM_ONE,
        ),
        stat_of(
            "Not delivered",
            "Events and alerts that failed or were dropped, in the time shown. Good: 0.",
            _undelivered(),
            steps=((0.5, RED),),
            decimals=0,
        ),
        stat_of(
            "Beyond limits",
            "Events whose label had too many values, counted without their name, and beats of "
            "workers, schedulers and entries beyond those that are watched, in the time shown. "
            "Good: 0.",
            added(lost("label_overflow_total", "label")),
            steps=((0.5, ORANGE),),
            decimals=0,
        ),
        stat_of(
            "Version",
            "Of the servers that answer. Good: one.",
            "max by (version) (jobmon_build_info{" + APP + "})",
            legend="{{version}}",
            shows_name=True,
        ),
    ]


def _undelivered() -> str:
    sinks = increase(
        "jobmon_deliveries_total", f'{APP}, result!="delivered"', "sink", "result", over=PERIOD
    )
    alerts = increase(
        "jobmon_alerts_sent_total", f'{APP}, result!="success"', "result", over=PERIOD
    )
    return added(f"({sinks} or {alerts})")


def _lost() -> list[Panel]:
    return [
        graph(
            "Changes of status",
            "What workers told the store, each second. Good: it follows the jobs.",
            Query(rate("jobmon_transitions_total", APP), "arrived"),
            unit=RATE,
            width=QUARTER,
        ),
        graph(
            "Lost changes",
            "What did not reach the store, by reason. Good: none.",
            Query(lost("transitions_dropped_total", "reason", over=OVER), "{{reason}}"),
            bars=True,
            stacked=True,
            width=QUARTER,
        ),
        graph(
            "On their way",
            "Time from the oldest change of the newest batch to its arrival. Good: about a second.",
            Query(known("transitions_lag_seconds"), "lag"),
            unit=units.Seconds,
            width=QUARTER,
        ),
        graph(
            "Values of labels",
            "How many values each label has. Good: level; at its limit, new ones are filed "
            "under other.",
            Query(known("label_values", "label"), "{{label}}"),
            width=QUARTER,
        ),
    ]


def _history() -> list[Panel]:
    oldest = age(known("sync_oldest_unsynced_timestamp_seconds"))
    return [
        graph(
            "Not copied yet",
            "What waits to be copied. Good: it comes back to 0 with each pass.",
            Query(total("jobmon_sync_unsynced", APP), "runs, and jobs without one"),
            Query(total("jobmon_sync_failures_waiting", APP), "failed jobs"),
            width=THIRD,
        ),
        graph(
            "Longest wait",
            "Since when the one that waits longest waits. Good: not much more than "
            "`sync.interval_minutes`.",
            Query(oldest, "oldest"),
            unit=units.Seconds,
            width=THIRD,
        ),
        graph(
            "Rows copied",
            "By table. Good: it follows the jobs.",
            Query(lost("sync_rows_total", "table", over=OVER), "{{table}}"),
            bars=True,
            stacked=True,
            width=THIRD,
        ),
        graph(
            "Duration of a pass",
            "How long copying took. Good: seconds.",
            Query(known("sync_last_duration_seconds"), "pass"),
            unit=units.Seconds,
            stepped=True,
            width=THIRD,
        ),
        graph(
            "Holes",
            "What expired before it was copied, and what was set aside. Good: none.",
            Query(lost("expired_unsynced_total", over=OVER), "runs, and jobs without one"),
            Query(lost("expired_failures_total", over=OVER), "failed jobs"),
            Query(lost("dead_letters_total", over=OVER), "set aside"),
            bars=True,
            stacked=True,
            width=THIRD,
        ),
        table_of(
            "Who does what",
            "Leases: leader does the work that is done once, sync is held for a pass. "
            "Good: a leader; sync only now and then.",
            {"lease": "Lease", "hostname": "Host", "pid": "Process"},
            Column(
                "Held", known("lease_held", "lease"), states={0: ("no", RED), 1: ("yes", GREEN)}
            ),
            about=known("lease_info", "lease", "hostname", "pid"),
            sorted_by="Lease",
            descending=False,
            width=THIRD,
        ),
    ]


def _deliveries() -> list[Panel]:
    return [
        graph(
            "Events told",
            "Deliveries of events of anomalies, by who is told and how it went. "
            "Good: delivered alone.",
            Query(lost("deliveries_total", "sink", "result", over=OVER), "{{sink}}, {{result}}"),
            bars=True,
            stacked=True,
            width=THIRD,
        ),
        graph(
            "Events waiting",
            "Deliveries that wait for their next attempt. Good: it comes back to 0.",
            Query(known("deliveries_waiting", "sink"), "{{sink}}"),
            width=THIRD,
        ),
        graph(
            "Alerts sent",
            "To each peer of Alertmanager, by its place in `alertmanager.urls` from 0. Good: "
            "success alone.",
            Query(lost("alerts_sent_total", "peer", "result", over=OVER), "{{peer}} {{result}}"),
            bars=True,
            stacked=True,
            width=THIRD,
        ),
    ]


def _servers() -> list[Panel]:
    # These count for each server by itself: nothing to make one of.
    asked = f"sum by (instance, status) (rate(jobmon_server_requests_total[{OVER}]))"
    slow = (
        f'sum by (method, path) (rate(jobmon_server_requests_total{{status=~"5.."}}[{OVER}])) > 0'
    )
    read = (
        "histogram_quantile(0.95, sum by (instance, le) "
        f"(rate(jobmon_server_collect_duration_seconds_bucket[{OVER}])))"
    )
    skipped = f"sum by (instance) (increase(jobmon_server_entries_skipped_total[{OVER}]))"
    scraped = f"on (job, instance) jobmon_build_info{{{APP}}}"
    return [
        timeline(
            "Redis",
            "Whether each server reached it. Good: green.",
            "max by (instance) (jobmon_server_redis_up)",
            "{{instance}}",
            UP,
            width=HALF,
            height=6,
        ),
        graph(
            "Requests",
            "What each server answered, by status. Good: few beyond 2xx and 3xx.",
            Query(asked, "{{instance}}, {{status}}"),
            unit=RATE,
            stacked=True,
            height=6,
        ),
        graph(
            "Errors of the server",
            "Requests that a server failed to answer, by endpoint. Good: none; 503 means that "
            "Redis or the database did not answer.",
            Query(slow, "{{method}} {{path}}"),
            unit=RATE,
            stacked=True,
            width=QUARTER,
        ),
        graph(
            "Reading the metrics",
            "How long a server took for 19 of 20 scrapes at most. Good: below a second.",
            Query(read, "{{instance}}"),
            unit=units.Seconds,
            width=QUARTER,
        ),
        graph(
            "Scrapes",
            "How long Prometheus took, and how many series it got. Good: well below the "
            "interval of scrapes.",
            Query(f"max by (instance) (scrape_duration_seconds and {scraped})", "{{instance}}"),
            unit=units.Seconds,
            width=QUARTER,
        ),
        graph(
            "Entries not understood",
            "Entries of the store that a server could not read. Good: none; more while servers "
            "of two versions run.",
            Query(skipped, "{{instance}}"),
            bars=True,
            stacked=True,
            width=QUARTER,
        ),
    ]
