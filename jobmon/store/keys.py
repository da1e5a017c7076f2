"""Every Redis key of jobmon, in one table, and the names that follow from it.

``python -m jobmon.store.keys`` prints the page of the documentation made from the table.
"""

from __future__ import annotations

from typing import Final, NamedTuple

RUN_TTL: Final = "the run's"
SCHEMA_VERSION: Final = 1
"""Layout of the keys and of a record's head; a newer store is never written to."""
LEADER: Final = "leader"
"""Name of the lease of the server that does what is to be done once."""
SYNC: Final = "sync"
"""Name of the lease of who syncs: a server, or a person's `jobmon sync` beside it."""
ANALYSIS: Final = "analysis"
"""Name of the lease of who judges runs: a server, or a person's `jobmon analyze` beside it."""
PUBLISH: Final = "publish"
"""Name of the lease of who delivers the events of anomalies."""


WRITER_RULES: Final = (
    "+evalsha +eval +time +del +pttl +pexpireat +@connection "
    "+@hash +@sortedset +@set +@list +@string"
)
"""What the ACL must allow a user that records, besides the keys."""
SERVER_RULES: Final = (
    f"{WRITER_RULES} +multi +exec +expire +pexpire +unlink +@stream +publish &jobmon:*"
)
"""The same of a server."""


class Key(NamedTuple):
    """One kind of key, as the documentation describes it."""

    name: str
    type: str
    holds: str
    """Members or fields, and what a field's value is."""
    score: str
    ttl: str
    writer: str
    documented: bool = False
    """True: a public contract. False: internal, may change with `store:meta`'s schema."""


TABLE: Final = (
    Key(
        "commands:running",
        "hash",
        "run id → JSON `id`, `command`, `source`, `started_at`, `environment`, `arguments`, "
        "`options`, …",
        "",
        "none; removed by the run's end",
        "start and end of a run",
        documented=True,
    ),
    Key(
        "commands:finished",
        "hash",
        "run id → JSON `id`, `command`, `source`, `finished_at`, `exit_code`, …",
        "",
        "per entry: `completed_ttl`, with an exit code other than 0 `failed_ttl`; at most "
        "10,000 entries",
        "end of a run",
        documented=True,
    ),
    Key(
        "command-pid-map:<command>",
        "string",
        "id of the newest run of the command",
        "",
        "`tracking_ttl`",
        "start of a run",
        documented=True,
    ),
    Key(
        "command:<processId>:jobs",
        "hash",
        "job id → record: JSON, first `status`, `attempt` and `x` (the store's own numbers)",
        "",
        RUN_TTL,
        "transition",
        documented=True,
    ),
    Key(
        "command:metrics:<command>:<processId>",
        "hash",
        "`job_count`, `success_jobs`, `failed_jobs`, `total_job_time` (s), `peak_memory` (bytes), "
        "`last_update`, `revoked_jobs`, `lost_jobs`, `retried_jobs`; `run` (JSON), `status`, "
        "`started_at`, `finished_at`, `exit_code`, `drained_at`; `born`, `version`, `partial`, "
        "`finished`, `last_end_ms`, `latest_ready_ms`, `drain_counted`",
        "",
        RUN_TTL,
        "transition, start and end of a run",
        documented=True,
    ),
    Key(
        "job:metrics:<jobId>",
        "hash",
        "a job that nobody's command started: `process_id`, `command_name`, `status`, "
        "`execution_time`, `queue_time`, `memory_usage`, `queue`, `class`, `created_at`, "
        "`started_at`, `finished_at`, `last_update`, `attempt`, `record` (as in a run's hash)",
        "",
        "the record's: `tracking_ttl`, `completed_ttl` or `failed_ttl`",
        "transition",
        documented=True,
    ),
    Key(
        "anomalies:events",
        "stream",
        "`id` of an event, and `event`: JSON as in [alerts](../howto/alerts.md); about 10,000 "
        "entries. Each is published on the channel of the same name too",
        "",
        "none; the oldest are cut off",
        "delivery of events, once each",
        documented=True,
    ),
    Key(
        "command:<processId>:attempts",
        "hash",
        "`<jobId>:<attempt>` → record of an earlier attempt, newest 20 a job",
        "",
        RUN_TTL,
        "transition",
    ),
    Key(
        "command:<processId>:unsynced",
        "list",
        "what the history lacks, oldest first: an element `<version>:<n>`, then n job ids",
        "",
        RUN_TTL,
        "transition; cleared up to a version by sync",
    ),
    Key(
        "command:<processId>:manual",
        "set",
        "job ids of a tree that nobody's command started, without the root's",
        "",
        "the longest of its jobs'",
        "transition",
    ),
    Key(
        "job:attempts:<jobId>",
        "hash",
        "`<jobId>:<attempt>` → record of an earlier attempt, as above",
        "",
        "that of `job:metrics:<jobId>`",
        "transition",
    ),
    Key(
        "job:message:<jobId>",
        "string",
        "replayable message of a failed or lost job, as JSON; never shown",
        "",
        "`failed_ttl`",
        "failed transition",
    ),
    Key(
        "unsynced",
        "sorted set",
        "name of the `command:metrics:…` key of a run, `<processId>/<jobId>` of a job without one",
        "version",
        "entries older than `failed_ttl` + 1 h are dropped and counted",
        "transition; cleared by sync after its commit",
    ),
    Key(
        "drained",
        "sorted set",
        "`<processId>` of an unsynced run that ended with all its jobs",
        "version",
        "as `unsynced`",
        "transition; cleared with its mark in `unsynced`",
    ),
    Key(
        "failures",
        "sorted set",
        "`<processId>/<jobId>` of a job that became failed or lost, changed while it was, or "
        "ceased to be",
        "version",
        "as `unsynced`",
        "transition; cleared once it is in, or out of, the table of failed jobs",
    ),
    Key(
        "synced",
        "sorted set",
        "members as in `unsynced`, of what the history has and cleanup may remove before it "
        "expires",
        "version",
        "entries older than the longest TTL + 1 h are dropped",
        "sync; cleanup",
    ),
    Key(
        "dead-letters",
        "list",
        "JSON of what sync could not write, oldest first: `at`, `process_id`, `job_id`, `command`, "
        "`reason`, `record`, `encoding`, `size`; at most 1,000 of 16 KiB",
        "",
        "none",
        "sync; emptied by `jobmon doctor`",
    ),
    Key(
        "lease:<name>",
        "hash",
        "`token`, `host`, `pid`, `since` of who holds it; `leader`: all that servers do once, "
        "`sync`: who syncs; `publish`: who delivers events",
        "",
        "10 s after it was renewed",
        "its holder",
    ),
    Key(
        "retries:pushing:<token>",
        "hash",
        "`<processId>/<jobId>` of a job that a claim is about → `pushing`, or `given up` where "
        "another has taken it over; `since`, µs",
        "",
        "`failed_ttl`; removed with the claim",
        "retry of failed jobs",
    ),
    Key(
        "retries:claims",
        "sorted set",
        "`<token>` of a claim that is not settled",
        "when it was made, Unix µs",
        "removed with the claim, or once the server that leads has looked at what is left of it",
        "retry of failed jobs",
    ),
    Key(
        "retries:open",
        "sorted set",
        "`<processId>` of a run all of whose failed jobs are to be run again",
        "when it was asked for, Unix ms",
        "removed once it is done; entries older than `failed_ttl` are dropped",
        "`retry-failed`; the server that leads",
    ),
    Key(
        "retries:of:<processId>",
        "hash",
        "such a request: `who`, `requested`, `pushed`, `refused`, `last`, `after`, `error`, "
        "`requested_ms`, `finished_ms`",
        "",
        "`failed_ttl`",
        "`retry-failed`; the server that leads",
    ),
    Key(
        "jobs:failed",
        "sorted set",
        "`<processId>/<jobId>` of a job that is failed or lost",
        "end, Unix ms",
        "entries older than `failed_ttl` + 1 h are dropped",
        "transition",
    ),
    Key(
        "jobs:failed:<series>",
        "sorted set",
        "the same of one series",
        "end, Unix ms",
        "as `jobs:failed`",
        "transition",
    ),
    Key(
        "pending:<series>",
        "sorted set",
        "`<processId>/<jobId>` of a pending or retrying job",
        "when it can start, Unix ms",
        "entries older than any run's keys do not count, and are dropped",
        "transition",
    ),
    Key(
        "processing:<series>",
        "sorted set",
        "`<processId>/<jobId>` of a job that runs",
        "start, Unix ms",
        "entries older than any run's keys do not count, and are dropped",
        "transition",
    ),
    Key(
        "commands:finished:by-time",
        "sorted set",
        "run id",
        "when its entry of `commands:finished` ends, Unix ms",
        "with the entry",
        "end of a run",
    ),
    Key(
        "runs:open",
        "sorted set",
        "name of the `command:metrics:…` key of a run with open jobs",
        "expiry of that key, Unix ms",
        "entries past it are dropped",
        "transition",
    ),
    Key(
        "workers",
        "hash",
        "worker's id → JSON: `engine`, `name`, `hostname`, `pid`, `queues`, `slots`, `busy`, "
        "`running`, …; at most 1,000",
        "",
        "removed by the worker's clean end; a lost one 10 min after the verdict",
        "beat of a worker's main process",
    ),
    Key(
        "workers:beats",
        "sorted set",
        "worker's id",
        "last beat, Unix ms",
        "as `workers`; without any server, a day after the last beat",
        "beat",
    ),
    Key(
        "workers:lost",
        "sorted set",
        "id of a worker that fell silent",
        "verdict, Unix ms",
        "with its entry of `workers`, or with its next beat",
        "reaper",
    ),
    Key(
        "schedulers",
        "hash",
        "scheduler's id → JSON; at most 100",
        "",
        "removed by the scheduler's clean end",
        "beat of a scheduler's process",
    ),
    Key(
        "schedulers:beats",
        "sorted set",
        "scheduler's id",
        "when its loop last turned, Unix ms",
        "as `schedulers`; a week after the last beat",
        "beat",
    ),
    Key(
        "schedules",
        "hash",
        "scheduler's id, U+001F, entry's name → JSON: `name`, `schedule`, `next_due_at`, …; at "
        "most 1,000",
        "",
        "removed with the entry; a week after it was told last",
        "beat of a scheduler's process",
    ),
    Key(
        "schedules:seen",
        "sorted set",
        "field of `schedules`",
        "when it was told last, Unix ms",
        "as `schedules`",
        "beat of a scheduler's process",
    ),
    Key(
        "jobs:known",
        "sorted set",
        "engine, queue and job name, joined by U+001F, of a job that a worker knows; at most "
        "1,000. It has no series, and takes no place, before it runs",
        "when it was told last, Unix ms",
        "a day after it was told last",
        "beat of a worker's main process",
    ),
    Key(
        "queues:depth:<engine>",
        "string",
        "JSON: of each queue its name, its jobs by state, and since when the oldest can start; at "
        "most 201",
        "",
        "three times `queues_poll_seconds`",
        "the server that leads, which asks the brokers",
    ),
    Key(
        "queues:polled:<engine>",
        "string",
        "when the broker was last read well, Unix ms",
        "",
        "a week",
        "the server that leads, which asks the brokers",
    ),
    Key(
        "runs:beats",
        "sorted set",
        "id of a run in `commands:running` whose process beats for it",
        "last beat, Unix ms",
        "removed by the run's end",
        "start and end of a run, beat",
    ),
    Key(
        "series:jobs",
        "hash",
        "engine, queue and job name, joined by U+001F → number of the series",
        "",
        "with the series",
        "transition",
    ),
    Key(
        "series:commands",
        "hash",
        "command → number of the series",
        "",
        "with the series",
        "transition",
    ),
    Key(
        "series:seen",
        "sorted set",
        "`jobs:<series>` or `commands:<series>`",
        "when it last counted something, Unix ms, within an hour",
        "`metrics.series_retention_days` after that, with all that is of the series",
        "transition",
    ),
    Key(
        "series:errors",
        "hash",
        "job name → how many error types it has; job name, U+001F, error type → 1",
        "",
        "with the series",
        "transition",
    ),
    Key(
        "labels:job_name",
        "set",
        "job names that have series",
        "",
        "with the last of them",
        "transition",
    ),
    Key(
        "labels:queue",
        "sorted set",
        "queues that have series",
        "last seen, Unix ms",
        "with the last of them",
        "transition",
    ),
    Key(
        "labels:error_type",
        "set",
        "error types that have series",
        "",
        "with the last of them",
        "transition",
    ),
    Key(
        "totals:jobs",
        "hash",
        "`<series>:enqueued`, `:started`, `:finished:<outcome>`, `:lost_corrected`, "
        "`:errors:<error type>`, `:duration:<bucket>`, `:duration:sum_us`, "
        "`:queue_time:<bucket>`, `:queue_time:sum_us`; `<series>/queue:…`, what was counted "
        "in series of the same queue that are forgotten",
        "",
        "with the series",
        "transition",
    ),
    Key(
        "exemplars",
        "hash",
        "`<series>:duration:<bucket>` or `<series>:finished:<outcome>` → end (Unix ms), duration "
        "(µs), trace id and span id of a job that was counted there, a newer one every 10 s",
        "",
        "with the series",
        "transition",
    ),
    Key(
        "totals:commands",
        "hash",
        "`<series>:runs:<outcome>`, `:jobs_finished:<outcome>`, `:lost_corrected`, "
        "`:runs_lost_corrected`, `:run_duration:…`, `:drain_duration:…` (as above), "
        "`:last_start`, `:last_end`, `:last_success` (ms), `:last_duration_us`, "
        "`:last_run_failed`",
        "",
        "none",
        "transition, start and end of a run",
    ),
    Key(
        "totals:recorder",
        "hash",
        "`transitions`, `dropped:<reason>`, `overflow:<label>`, `expired_unsynced`, "
        "`expired_failures`, `dead_letters`, `lag_ms`, "
        "`workers_lost:<engine>`, `queue_errors:<engine>`",
        "",
        "none",
        "every call",
    ),
    Key(
        "totals:sync",
        "hash",
        "`began_ms` and `ended_ms` of the last pass, `success_ms` and `duration_us` of the last "
        "one that copied everything, `rows:<table>` copied so far",
        "",
        "none",
        "sync",
    ),
    Key(
        "totals:analysis",
        "hash",
        "`began_ms` of the last time that all commands were judged; `opened:<kind>` of incidents, "
        "and `counted`, the number of the last event that was counted",
        "",
        "none",
        "analysis",
    ),
    Key(
        "totals:deliveries",
        "hash",
        "`delivered:<sink>`, `failed:<sink>`, `dropped:<sink>`; `waiting:<sink>` now; "
        "`alerts:<result>:<peer>` sent to Alertmanager; at most 100 sinks",
        "",
        "none",
        "delivery of events",
    ),
    Key(
        "bounds:commands",
        "hash",
        "application, environment and command, joined by U+001F → JSON: `bounds`, each with its "
        "value, when it moved and for how many rounds it is off; `runs`, `learned_at`, `jobs`, "
        "`failure_ratio`, `expected_at`, `grace_seconds`, …; at most 500",
        "",
        "`analyze_mode.retention_days` after the last analysis; of a command, removed as long "
        "after its last run, unless a start is awaited",
        "analysis",
    ),
    Key(
        "bounds:queues",
        "hash",
        "engine and queue, joined by U+001F → JSON: bound of the time in the queue, when it moved, "
        "for how many rounds it is off; at most 500",
        "",
        "a week; of a queue, removed a week after its last job",
        "the server that leads, every 5 min",
    ),
    Key(
        "bounds:queue-samples",
        "hash",
        "engine and queue, joined by U+001F → counts of its histogram, 8 bytes each, and of the "
        "last 7 days each 95th percentile, 6 bytes; `at`: when they were taken, Unix µs",
        "",
        "a week; of a queue, removed with its series",
        "the server that leads, every 5 min",
    ),
    Key(
        "anomalies:shown",
        "hash",
        "id of an incident that is open, or was within the last hour → JSON: `command`, `signal`, "
        "`ratio`, `opened_at`, `resolved_at`, `summary`, …; at most 500",
        "",
        "three times `analyze_mode.analysis_interval_minutes`, at least 1 h, after the last "
        "analysis",
        "analysis",
    ),
    Key(
        "anomalies:added",
        "sorted set",
        "id of an event that was added to `anomalies:events`; at most 100,000",
        "when, Unix ms",
        "entries older than a week are dropped",
        "delivery of events",
    ),
    Key(
        "rate:<kind>:<who>",
        "string",
        "Unix µs at which the bucket of tokens is full again: `api` of a user or an address, "
        "`failures` to authenticate of an address",
        "",
        "that instant",
        "request to a server",
    ),
    Key(
        "store:meta",
        "hash",
        "`schema`, `clock` (last version given), `last_job_series`, `last_command_series`, "
        "`watched_since` and `watched_at` (ms: since when, and when last, a server has listened), "
        "`lease_token` (last one given), `id` (which store it is, for the history)",
        "",
        "none",
        "every call",
    ),
)
"""Names come after the prefix (`redis.prefix`, `jobmon:`)."""


def encode_command(command: str) -> str:
    """The command's name as it stands in keys, where braces would choose a cluster's slot."""
    return command.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")


class RunKeys:
    """Keys of one command run, or of one tree of jobs that nobody's command started."""

    __slots__ = ("_prefix", "attempts", "jobs", "manual", "process_id", "unsynced")

    def __init__(self, prefix: str, process_id: str) -> None:
        self._prefix = prefix
        self.process_id = process_id
        own = f"{prefix}command:{process_id}:"
        self.jobs = own + "jobs"
        self.attempts = own + "attempts"
        self.unsynced = own + "unsynced"
        self.manual = own + "manual"

    def metrics(self, command: str) -> str:
        """Counters of the run."""
        return f"{self._prefix}command:metrics:{encode_command(command)}:{self.process_id}"


class Keys:
    """Names of all keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.running = prefix + "commands:running"
        self.finished = prefix + "commands:finished"
        self.finished_by_time = prefix + "commands:finished:by-time"
        self.open_runs = prefix + "runs:open"
        self.workers = prefix + "workers"
        self.worker_beats = prefix + "workers:beats"
        self.lost_workers = prefix + "workers:lost"
        self.schedulers = prefix + "schedulers"
        self.scheduler_beats = prefix + "schedulers:beats"
        self.run_beats = prefix + "runs:beats"
        self.schedules = prefix + "schedules"
        self.schedules_seen = prefix + "schedules:seen"
        self.known_jobs = prefix + "jobs:known"
        self.unsynced = prefix + "unsynced"
        self.drained = prefix + "drained"
        self.failures = prefix + "failures"
        self.synced = prefix + "synced"
        self.dead_letters = prefix + "dead-letters"
        self.claims = prefix + "retries:claims"
        self.retry_requests = prefix + "retries:open"
        self.failed = prefix + "jobs:failed"
        self.job_series = prefix + "series:jobs"
        self.command_series = prefix + "series:commands"
        self.error_series = prefix + "series:errors"
        self.series_seen = prefix + "series:seen"
        self.exemplars = prefix + "exemplars"
        self.job_names = prefix + "labels:job_name"
        self.queues = prefix + "labels:queue"
        self.error_types = prefix + "labels:error_type"
        self.job_totals = prefix + "totals:jobs"
        self.command_totals = prefix + "totals:commands"
        self.recorder_totals = prefix + "totals:recorder"
        self.sync_totals = prefix + "totals:sync"
        self.analysis_totals = prefix + "totals:analysis"
        self.delivery_totals = prefix + "totals:deliveries"
        self.command_bounds = prefix + "bounds:commands"
        self.queue_bounds = prefix + "bounds:queues"
        self.queue_samples = prefix + "bounds:queue-samples"
        self.shown_anomalies = prefix + "anomalies:shown"
        self.events = prefix + "anomalies:events"
        self.added_events = prefix + "anomalies:added"
        self.meta = prefix + "store:meta"

    def of(self, process_id: str) -> RunKeys:
        """Every key of a run; the one place that would choose a shard."""
        return RunKeys(self.prefix, process_id)

    def is_metrics(self, name: str) -> bool:
        """Whether a key is that of a run's counters."""
        return name.startswith(f"{self.prefix}command:metrics:")

    def command_of(self, metrics: str) -> str:
        """The command in the name of a run's counters."""
        name = metrics.removeprefix(f"{self.prefix}command:metrics:").rpartition(":")[0]
        return name.replace("%7D", "}").replace("%7B", "{").replace("%25", "%")

    def lease(self, name: str) -> str:
        """Who holds a lease."""
        return f"{self.prefix}lease:{name}"

    def queue_depth(self, engine: str) -> str:
        """How many jobs the queues of an engine hold."""
        return f"{self.prefix}queues:depth:{engine}"

    def queue_polled(self, engine: str) -> str:
        """When its broker was last read well."""
        return f"{self.prefix}queues:polled:{engine}"

    def rate(self, kind: str, who: str) -> str:
        """How much a client may ask of the servers."""
        return f"{self.prefix}rate:{kind}:{who}"

    def pushes(self, token: str) -> str:
        """How far the holder of a claim on failed jobs came."""
        return f"{self.prefix}retries:pushing:{token}"

    def retry_request(self, process_id: str) -> str:
        """That all failed jobs of a run be run again."""
        return f"{self.prefix}retries:of:{process_id}"

    def newest_run(self, command: str) -> str:
        """Id of the newest run of a command."""
        return f"{self.prefix}command-pid-map:{encode_command(command)}"

    def job(self, job_id: str) -> str:
        """A job that nobody's command started."""
        return f"{self.prefix}job:metrics:{job_id}"

    def job_attempts(self, job_id: str) -> str:
        """Earlier attempts of such a job."""
        return f"{self.prefix}job:attempts:{job_id}"

    def message(self, job_id: str) -> str:
        """Replayable message of a failed job."""
        return f"{self.prefix}job:message:{job_id}"

    def pending(self, series: int | str) -> str:
        """Jobs of one series that wait."""
        return f"{self.prefix}pending:{series}"

    def processing(self, series: int | str) -> str:
        """Jobs of one series that run."""
        return f"{self.prefix}processing:{series}"

    def failed_in(self, series: int | str) -> str:
        """Jobs of one series that are failed or lost."""
        return f"{self.failed}:{series}"


def reference() -> str:
    """The documentation's page of Redis keys, as Markdown."""
    lines = [
        "# Redis keys",
        "",
        "Every key begins with `redis.prefix` (default `jobmon:`). Braces and percent signs in",
        "a command's name are percent-encoded inside keys. A run's keys share one expiry instant:",
        "`tracking_ttl` after the last change while something is open, else `failed_ttl` if",
        "something failed, else `completed_ttl`.",
        "",
        "A Redis user that records needs at least",
        f"`~jobmon:* {WRITER_RULES}`.",
        "One of `jobmon serve`, or of a command that does what it does (`jobmon sync`, `analyze`,",
        "`retry`), needs",
        f"`~jobmon:* {SERVER_RULES}`.",
        "",
    ]
    sections = (
        ("Documented", True, "Other programs may read these."),
        ("Internal", False, f"These may change with the schema (now {SCHEMA_VERSION})."),
    )
    for title, documented, text in sections:
        lines += [f"## {title}", "", text, ""]
        lines += ["| key | type | holds | score | expires | written by |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += [
            f"| `{key.name}` | {key.type} | {key.holds} | {key.score} | {key.ttl} | {key.writer} |"
            for key in TABLE
            if key.documented is documented
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference(), end="")
