"""The table of all options: one line each, typed, with its rule, default and meaning.

A key's dotted name is its path through these classes. Names that the specification documents
stay as documented; later versions add the keys listed in `LATER_KEYS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeVar,
    cast,
    dataclass_transform,
)

from jobmon.settings import access, parse, per_command
from jobmon.settings.access import Password, Token
from jobmon.settings.parse import Listen, Rule
from jobmon.settings.per_command import Commands as PerCommands
from jobmon.settings.webhooks import Webhook, webhooks

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

T = TypeVar("T")
S = TypeVar("S")

ENV_PREFIX: Final = "JOB_MONITOR_"
OWN_VARIABLES: Final = frozenset(
    {
        "JOB_MONITOR_COMMAND",
        "JOB_MONITOR_CONFIG",
        "JOB_MONITOR_PROCESS_ID",
        "JOB_MONITOR_STARTED_AT",
    }
)
"""Variables with our prefix that are no settings."""

MASK: Final = "********"


class Key(NamedTuple):
    """One option."""

    name: str
    """Dotted, as in ``jobmon.toml``."""
    rule: Rule[object]
    default: object
    meaning: str
    secret: bool

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return variable(self.name)


def variable(name: str) -> str:
    """Environment variable of a dotted key."""
    return ENV_PREFIX + name.upper().replace(".", "_")


def _key(default: T, rule: Rule[T], meaning: str, *, secret: bool = False) -> T:
    metadata = {"rule": rule, "meaning": meaning, "secret": secret}
    return field(default=default, metadata=metadata)


def _section(section: type[S]) -> S:
    return field(default_factory=section, metadata={"section": section})


@dataclass_transform(frozen_default=True, eq_default=False)
def _frozen(cls: type[S]) -> type[S]:
    """A frozen dataclass whose methods are inherited from `Section`.

    Letting ``dataclass`` write them for each class costs every worker's start 3 to 8 ms of CPU.
    """
    return dataclass(init=False, repr=False, eq=False, match_args=False)(cls)


class Section:
    """Keys that share the first part of their name. Its ``repr`` shows no secret."""

    def __init__(self, **values: object) -> None:
        for one in fields(cast("Any", self)):
            if one.name in values:
                self.__dict__[one.name] = values.pop(one.name)
            elif one.default is not MISSING:
                self.__dict__[one.name] = one.default
            else:
                self.__dict__[one.name] = cast("Any", one.default_factory)()
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __repr__(self) -> str:
        shown: list[str] = []
        for one in fields(cast("Any", self)):
            value = getattr(self, one.name)
            masked = one.metadata.get("secret") and value != one.default
            shown.append(f"{one.name}={MASK if masked else repr(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


_RECORD: Final[Rule[Literal["failed", "all", "none"]]] = parse.choice("failed", "all", "none")
_RELATION: Final[Rule[Literal["auto", "child", "link"]]] = parse.choice("auto", "child", "link")
_JOB_SPANS: Final[Rule[Literal["auto", "always", "never"]]] = parse.choice(
    "auto", "always", "never"
)
_SCOPE: Final[Rule[parse.Scope]] = parse.choice("read", "operate", "metrics")
_TTL: Final = parse.whole(60, 31_536_000, "s")


@_frozen
class Redis(Section):
    """Where the state store is, and how long anyone waits for it."""

    connection: str = _key(
        "default",
        parse.text(64, pattern="[A-Za-z0-9_-]+", allowed="a name in [redis.connections]"),
        "Which set of `host`, `port`, `username`, `password`, `database`, `ssl`, `timeout`, "
        "`retry_interval`, `url` to use: `default`, those of `[redis]`; else those of "
        "`[redis.connections.NAME]` alone.",
    )
    url: str | None = _key(
        None,
        parse.redis_url(),
        "Address in one piece; wins over host, port, database, username, password and ssl.",
        secret=True,
    )
    host: str = _key("127.0.0.1", parse.text(255), "Host name or address.")
    port: int = _key(6379, parse.whole(1, 65535), "TCP port.")
    username: str | None = _key(None, parse.text(255), "ACL user.")
    password: str | None = _key(None, parse.text(1024), "Password.", secret=True)
    database: int = _key(0, parse.whole(0, 65535), "Number of the database.")
    ssl: bool = _key(False, parse.boolean(), "TLS, with the server's certificate verified.")
    timeout: float = _key(
        5.0,
        parse.number(0.05, 60, "s"),
        "Longest wait to connect and to read, in the server and the CLI.",
    )
    retry_interval: int = _key(
        100,
        parse.whole(0, 10_000, "ms"),
        "Wait before the next attempt to connect, doubled each time, with jitter.",
    )
    prefix: str = _key(
        "jobmon:",
        parse.text(
            100,
            pattern=r"[A-Za-z0-9:._/-]+",
            allowed="1 to 100 letters, digits and : . _ / -",
        ),
        "Before every key.",
    )
    record_timeout: float = _key(
        0.5,
        parse.number(0.01, 10, "s"),
        "Longest that a hook may hold its caller, and that one write of the recorder may take.",
    )


@_frozen
class Database(Section):
    """Where the history is kept. Workers never need it."""

    url: str = _key(
        "sqlite:///jobmon.db",
        parse.database_url(),
        "Address of the history's database. PostgreSQL needs the extra `postgres`, MySQL and "
        "MariaDB `mysql`.",
        secret=True,
    )
    table_prefix: str = _key(
        "",
        parse.text(
            16,
            shortest=0,
            pattern="([a-z_][a-z0-9_]*)?",
            allowed="at most 16 lower-case letters, digits and _, the first no digit",
        ),
        "Before every table's name, where `failed_jobs` is already another program's.",
    )
    auto_migrate: bool = _key(
        True,
        parse.boolean(),
        "The server makes and changes its tables by itself. Off: `jobmon migrate` does, and the "
        "server refuses to run on tables of another version.",
    )


@_frozen
class Recorder(Section):
    """The buffer in your processes."""

    shutdown_timeout: float = _key(
        2.0,
        parse.number(0, 60, "s"),
        "Longest last flush when a worker stops or an interpreter exits.",
    )


@_frozen
class Beats(Section):
    """Signs of life of workers, open runs and schedulers."""

    interval_seconds: float = _key(
        10.0,
        parse.number(0.1, 300, "s"),
        "How often a process says that it lives, and what it runs: one call of Redis each time.",
    )


@_frozen
class Reaper(Section):
    """What the server takes for lost."""

    lost_after_seconds: float = _key(
        300.0,
        parse.number(1, 86_400, "s"),
        "Silence after which a worker or an open command run is taken for lost; at least four "
        "times `beats.interval_seconds`. Taken back when it turns up.",
    )


@_frozen
class Late(Section):
    """Which jobs are listed as late."""

    processing_seconds: float = _key(
        3600.0, parse.number(1, 31_536_000, "s"), "Jobs that run for longer are listed as late."
    )
    pending_seconds: float = _key(
        900.0,
        parse.number(1, 31_536_000, "s"),
        "So are jobs that wait for longer, counted from when they could start: enqueued, and past "
        "their ETA.",
    )


@_frozen
class Monitoring(Section):
    """What is recorded at all."""

    commands_enabled: bool = _key(
        True, parse.boolean(), "Record command runs. Off: the API answers empty lists."
    )
    job_correlation_enabled: bool = _key(
        True,
        parse.boolean(),
        "Record jobs and link them to their command. Off: no job is hooked; schedulers still are.",
    )


@_frozen
class Commands(Section):
    """Which commands of Click, Typer and Django, and which schedules' entries, are runs."""

    include: tuple[str, ...] = _key(
        ("*",),
        parse.many(parse.shell_pattern(), 1000),
        "Shell patterns of names that are recorded. Servers, workers, shells and the like are "
        "left out unless a pattern other than `*` matches them.",
    )
    exclude: tuple[str, ...] = _key(
        (),
        parse.many(parse.shell_pattern(), 1000),
        "Shell patterns of names that are not recorded, whatever `include` says.",
    )


@_frozen
class Exceptions(Section):
    """What is kept of a failed job's exception."""

    frame_count: int = _key(3, parse.whole(0, 50), "Innermost stack frames kept.")
    detailed_logging: bool = _key(
        False,
        parse.boolean(),
        "Keep the full traceback text too; ignored while `environment` is `production`.",
    )


@_frozen
class Arguments(Section):
    """Arguments of jobs, for people to read."""

    record: Literal["failed", "all", "none"] = _key(
        "failed",
        _RECORD,
        "Whose arguments are kept, redacted: those of failed jobs, of all, of none. The parsed "
        "ones of commands are kept unless `none`.",
    )


@_frozen
class Failed(Section):
    """What is kept of failed jobs besides their record."""

    store_message: bool = _key(
        True,
        parse.boolean(),
        "Keep the message of a failed job as the broker had it, so that it can be run again. It "
        "is never shown, and not redacted: it holds the arguments.",
    )


@_frozen
class Celery(Section):
    """Celery, as the server reaches it to read its queues and to run failed jobs again."""

    broker_url: str | None = _key(
        None,
        parse.broker_url(),
        "Address of the broker. Without it, the depth of Celery's queues is not read, and its "
        "failed jobs are not run again.",
        secret=True,
    )
    management_url: str | None = _key(
        None,
        parse.management_url(),
        "Address of RabbitMQ's management API, such as http://user:password@mq:15672, which tells "
        "of queues what AMQP does not: how many jobs workers hold.",
        secret=True,
    )
    global_keyprefix: str = _key(
        "",
        parse.text(255, shortest=0),
        "As in Celery's `broker_transport_options`, on Redis.",
    )
    sep: str = _key(
        "",
        parse.text(16, shortest=0),
        "As in Celery's `broker_transport_options`, on Redis. Empty: kombu's own.",
    )
    priority_steps: tuple[int, ...] = _key(
        (),
        parse.many(parse.whole(0, 9), 10),
        "As in Celery's `broker_transport_options`, on Redis. Empty: kombu's own.",
    )


@_frozen
class Rq(Section):
    """RQ, as the server reaches it to read its queues and to run failed jobs again."""

    redis_url: str | None = _key(
        None,
        parse.redis_url(),
        "Address of RQ's Redis, where that is not the state store's. A database that it names "
        "wins over the one that a job was in.",
        secret=True,
    )


@_frozen
class Redact(Section):
    """Removal of secrets from whatever is recorded, where it is recorded."""

    keys: tuple[str, ...] = _key(
        (),
        parse.many(parse.text(100), 200),
        "Words that mark a name as secret, besides password, secret, token, cookie and the like. "
        "Case, `_` and `-` do not matter.",
    )
    max_bytes: int = _key(
        8192,
        parse.whole(64, 16_384, "bytes"),
        "Longest arguments, options or payload of one job, cut beyond.",
    )


@_frozen
class Sync(Section):
    """Copying from Redis into the database."""

    enabled: bool = _key(
        True,
        parse.boolean(),
        "Copy runs and jobs. Off: failed jobs are still copied; nothing in Redis lives longer for "
        "want of a copy.",
    )
    interval_minutes: int = _key(
        5, parse.whole(1, 1440, "min"), "Time between two passes of the server."
    )
    batch_size: int = _key(500, parse.whole(1, 10_000), "Runs and jobs in one transaction.")
    retry_attempts: int = _key(
        3, parse.whole(0, 20), "Further tries of a batch that the database did not take."
    )
    retry_delay_seconds: int = _key(
        5, parse.whole(0, 600, "s"), "Before the first of them; doubled with each."
    )
    cleanup_enabled: bool = _key(
        True, parse.boolean(), "Remove from Redis, before its TTL, what is done and copied."
    )
    cleanup_after_hours: int = _key(
        24, parse.whole(0, 8760, "h"), "How long after its end it stays in Redis all the same."
    )
    max_memory_mb: int = _key(
        256,
        parse.whole(32, 65_536, "MiB"),
        "A pass that has grown by more ends after its current batch; the next goes on.",
    )
    timeout_seconds: int = _key(
        300, parse.whole(5, 86_400, "s"), "So does a pass that takes longer."
    )
    chunk_delay_ms: int = _key(10, parse.whole(0, 60_000, "ms"), "Pause between two batches.")


@_frozen
class History(Section):
    """How long the history is kept."""

    retention_days: int = _key(
        0,
        parse.whole(0, 36_500, "d"),
        "Rows of runs, jobs, attempts and anomalies that are older are deleted, daily; 0: none. "
        "Failed jobs stay until somebody deletes them.",
    )


@_frozen
class AnalyzeMode(Section):
    """Whether a run is normal."""

    enabled: bool = _key(
        True, parse.boolean(), "Analyse by itself. Off: on request all the same, with a warning."
    )
    retention_days: int = _key(
        30,
        parse.whole(1, 365, "d"),
        "How far back runs count as what is usual; of a command with fewer than 20 since, the last "
        "20 of a year more. Nothing is deleted by it.",
    )
    performance_threshold: float = _key(
        1.5,
        per_command.more(),
        "Least ratio of a run's time to what its work usually takes that counts as degradation. "
        "As with all of these, chance must not explain it either.",
    )
    performance_threshold_lower: float = _key(
        0.5, per_command.less(), "Highest ratio that counts as improvement; 0: none."
    )
    failed_jobs_threshold: float = _key(
        2.0,
        per_command.more(),
        "Least ratio of the share of failed jobs to the usual one that counts as spike.",
    )
    failed_jobs_threshold_lower: float = _key(
        0.5, per_command.less(), "Highest ratio that counts as drop; 0: none."
    )
    job_count_threshold: float = _key(
        2.0,
        per_command.more(),
        "Least ratio of the number of jobs to the usual one that counts as spike.",
    )
    job_count_threshold_lower: float = _key(
        0.5, per_command.less(), "Highest ratio that counts as drop; 0: none."
    )
    memory_threshold: float = _key(
        1.25, per_command.more(), "Least ratio of the peak memory to the usual one that counts."
    )
    queue_time_threshold: float = _key(
        2.0,
        per_command.more(),
        "Least ratio of the jobs' time in the queue to the usual one that counts.",
    )
    analysis_interval_minutes: int = _key(
        60, parse.whole(1, 10_080, "min"), "Time between two analyses of all commands."
    )
    schedule_analysis_enabled: bool = _key(
        True, parse.boolean(), "Look for runs that should have started."
    )
    missed_execution_threshold_hours: float = _key(
        24.0,
        per_command.hours(),
        "Silence after which a run is missed, of a command that ran regularly and whose schedule "
        "is neither declared nor can be inferred; or two usual intervals, if that is longer.",
    )
    timezone: str = _key(
        "UTC",
        per_command.zone(),
        "Time zone of hours, weekdays and schedules, of a command that has none of its own and "
        "whose scheduler tells none. Work that follows local hours shifts in UTC with each change "
        "of the clocks.",
    )
    commands: PerCommands = _key(
        PerCommands(),
        per_command.commands(),
        "Settings of single commands, by their name or a shell pattern; a name goes before a "
        "pattern, then the pattern with most characters of its own. One table applies, whole.",
    )


@_frozen
class Alertmanager(Section):
    """Alerts sent straight to Alertmanager, in place of rules that Prometheus evaluates."""

    urls: tuple[str, ...] = _key(
        (),
        parse.many(parse.service_url(), 20),
        "Addresses of its peers; each gets everything. May hold a user and password, and be of "
        "your own network. Empty: nothing is sent.",
        secret=True,
    )
    bearer_token: str | None = _key(
        None, parse.text(4096, pattern="[!-~]+"), "Sent to each of them.", secret=True
    )
    runbook_url: str | None = _key(
        None,
        parse.public_url(),
        "Folder of the runbooks: an alert links to `<runbook_url>/<alert>.md`.",
    )


@_frozen
class HealthCheck(Section):
    """The `health` endpoint."""

    enabled: bool = _key(True, parse.boolean(), "Off: the endpoint answers 404.")
    public: bool = _key(
        False, parse.boolean(), "Without a token it answers too, but with states alone."
    )
    redis_timeout: float = _key(2.0, parse.number(0.05, 30, "s"), "Longest wait for Redis.")
    db_timeout: float = _key(2.0, parse.number(0.05, 30, "s"), "Longest wait for the database.")
    max_metrics_age_hours: int = _key(
        24,
        parse.whole(0, 8760, "h"),
        "The history is unhealthy once its newest row is older. 0: however old it is.",
    )


@_frozen
class Logging(Section):
    """Logs of the server and the CLI; in your processes, your own configuration rules."""

    channel: str = _key(
        "stderr",
        parse.text(255, pattern=r"[\w.-]+", allowed="stderr, stdout, null, or a logger's name"),
        "`stderr`, `stdout`, `null`, or the name of a logger.",
    )
    level: str = _key("INFO", parse.log_level(), "Least severe level that is logged.")
    structured: bool = _key(False, parse.boolean(), "One JSON object a line.")


@_frozen
class Auth(Section):
    """Who may use the API."""

    tokens: tuple[Token, ...] = _key(
        (),
        parse.many(access.token(), 1000, "a list, each name:scope:sha256:<hex>"),
        "Bearer tokens: `name:scope:sha256:<hex of the token's SHA-256>`; scope `read`, `operate` "
        "(read included) or `metrics`.",
        secret=True,
    )
    basic: tuple[Password, ...] = _key(
        (),
        parse.many(access.password(), 1000, "a list, each as `jobmon token hash` prints it"),
        "Users with passwords, with `auth:basic` in `middleware`: `user:scope:scrypt:…`.",
        secret=True,
    )
    proxy_header: str | None = _key(
        None,
        access.header(),
        "Header in which a proxy names the user, with `auth:proxy` in `middleware`. Believed from "
        "`trusted_proxies` alone.",
    )
    proxy_scope: parse.Scope = _key("read", _SCOPE, "What users that a proxy names may do.")
    allow_unauthenticated: bool = _key(
        False,
        parse.boolean(),
        "Listen beyond this machine without any authentication. The API is then read-only.",
    )


@_frozen
class RateLimiting(Section):
    """How much one client may ask, with `api` in `middleware`."""

    enabled: bool = _key(
        True,
        parse.boolean(),
        "Limit each token or user, without one each address. How often an address may fail to "
        "authenticate is limited all the same.",
    )
    requests_per_minute: int = _key(120, parse.whole(1, 100_000), "Requests in the long run.")
    burst_limit: int = _key(60, parse.whole(1, 100_000), "Requests at once.")


@_frozen
class Cors(Section):
    """Pages of other origins that may call the API from a browser."""

    origins: tuple[str, ...] = _key(
        (), parse.many(access.origin(), 200), "Their origins. They need a token: no cookie is sent."
    )


@_frozen
class Metrics(Section):
    """The Prometheus endpoint."""

    public: bool = _key(False, parse.boolean(), "`/metrics` answers without a token.")
    series_retention_days: int = _key(
        30,
        parse.whole(0, 3650, "d"),
        "Series of jobs and commands that were idle for longer are removed; 0: never. One that "
        "comes back begins at 0.",
    )
    compat: bool = _key(
        False,
        parse.boolean(),
        "`/metrics/compat/celery-exporter` and `/metrics/compat/rq-exporter` answer, with the "
        "names that these exporters use.",
    )


@_frozen
class Otel(Section):
    """Spans of commands and jobs through the OpenTelemetry API."""

    enabled: bool = _key(
        True,
        parse.boolean(),
        "Make spans; without an SDK in the process they cost almost nothing.",
    )
    job_spans: Literal["auto", "always", "never"] = _key(
        "auto",
        _JOB_SPANS,
        "Where another instrumentation makes spans of jobs, describe those (`auto`) or make ours "
        "too (`always`); `never` makes and describes none.",
    )
    trace_relation: Literal["auto", "child", "link"] = _key(
        "auto",
        _RELATION,
        "A job's span is a child of what enqueued it and linked to it (`child`), or starts a "
        "trace of its own and is linked (`link`); `auto` decides by age, depth and number.",
    )
    trace_max_age_seconds: float = _key(
        3600.0,
        parse.number(0, 31_536_000, "s"),
        "With `auto`: a job that starts later than this after its trace began gets its own trace.",
    )
    close_lost_spans: bool = _key(
        True,
        parse.boolean(),
        "The main process of a Celery worker closes the spans of jobs whose process was killed.",
    )
    record_exception_message: bool = _key(
        True, parse.boolean(), "Spans carry the message of an exception, not only its type."
    )


@_frozen
class Settings(Section):
    """Every option with its value. Made by `load`; never changed afterwards."""

    app: str = _key(
        "default",
        parse.text(64),
        "Name of this application, where several record into one store.",
    )
    environment: str = _key(
        "production",
        parse.text(64),
        "Shown in runs and jobs; while it is `testing` the server does not sync by itself.",
    )
    release: str | None = _key(
        None, parse.text(128), "Version of your code, shown in runs and jobs."
    )
    tags: tuple[str, ...] = _key(
        (), parse.many(parse.text(64), 8), "Short words put on every run and job of this process."
    )
    prefix: str = _key("api/job-monitor", parse.route_prefix(), "Path of the API.")
    middleware: tuple[str, ...] = _key(
        ("api", "auth:token"),
        parse.many(access.middleware(), 50),
        "Layers of the API, outermost first: the rate limit (`api`), ways to authenticate "
        "(`auth:…`), your own. `auth:sanctum` means `auth:token`.",
    )
    queues: tuple[str, ...] = _key(
        (),
        parse.many(parse.text(255), 1000),
        "Queues that `stats` and `/metrics` always show, also while they are empty.",
    )
    queues_poll_seconds: float = _key(
        15.0,
        parse.number(0, 60, "s"),
        "How often the server that leads reads from the brokers how many jobs their queues hold. "
        "0: never.",
    )
    listen: Listen = _key(Listen("127.0.0.1", 8765), parse.listen(), "Where the server listens.")
    public_url: str | None = _key(
        None, parse.public_url(), "Base of absolute links, when it is not what clients connect to."
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _key(
        (),
        parse.many(parse.network(), 200),
        "Proxies whose `X-Forwarded-For`, `-Proto` and `-Host` count.",
    )
    allowed_hosts: tuple[str, ...] = _key(
        (),
        parse.many(parse.text(255, pattern=r"[^\s/]+", allowed="a host name or address"), 200),
        "Names in `Host` that are answered, besides `localhost`, this machine's host name, and "
        "those of `listen` and `public_url`. Addresses always are.",
    )
    tracking_ttl: int = _key(86_400, _TTL, "Life of a run's keys while any of its work is open.")
    completed_ttl: int = _key(3_600, _TTL, "Life of a run's keys after all of it succeeded.")
    failed_ttl: int = _key(172_800, _TTL, "Life of a run's keys after some of it failed.")
    webhooks: tuple[Webhook, ...] = _key(
        (),
        webhooks(),
        "Where events of anomalies are posted: `[[webhooks]]`, each with `url`, and if wanted "
        "`secret` (signs what is posted), `min_severity` and `types`.",
        secret=True,
    )
    webhooks_allow_private: bool = _key(
        False,
        parse.boolean(),
        "Post also to addresses that are not public, such as those of a cluster.",
    )
    redis: Redis = _section(Redis)
    database: Database = _section(Database)
    recorder: Recorder = _section(Recorder)
    beats: Beats = _section(Beats)
    reaper: Reaper = _section(Reaper)
    late: Late = _section(Late)
    monitoring: Monitoring = _section(Monitoring)
    commands: Commands = _section(Commands)
    arguments: Arguments = _section(Arguments)
    exceptions: Exceptions = _section(Exceptions)
    failed: Failed = _section(Failed)
    celery: Celery = _section(Celery)
    rq: Rq = _section(Rq)
    redact: Redact = _section(Redact)
    otel: Otel = _section(Otel)
    auth: Auth = _section(Auth)
    rate_limiting: RateLimiting = _section(RateLimiting)
    cors: Cors = _section(Cors)
    metrics: Metrics = _section(Metrics)
    health_check: HealthCheck = _section(HealthCheck)
    sync: Sync = _section(Sync)
    history: History = _section(History)
    analyze_mode: AnalyzeMode = _section(AnalyzeMode)
    alertmanager: Alertmanager = _section(Alertmanager)
    logging: Logging = _section(Logging)
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """Source of each value that is no default: key to a variable's or a file's name."""
    warnings: tuple[str, ...] = field(default=())
    """What `load` found odd but let pass."""


def _walk(section: type[object], before: str) -> Iterator[Key]:
    for one in fields(cast("Any", section)):
        name = before + one.name
        if "section" in one.metadata:
            yield from _walk(one.metadata["section"], f"{name}.")
        elif "rule" in one.metadata:
            metadata = one.metadata
            yield Key(name, metadata["rule"], one.default, metadata["meaning"], metadata["secret"])


KEYS: Final[dict[str, Key]] = {key.name: key for key in _walk(Settings, "")}
"""Every option by its dotted name, in the order of the documentation."""

CONNECTION_KEYS: Final = frozenset(
    {"url", "host", "port", "username", "password", "database", "ssl", "timeout", "retry_interval"}
)
"""What a named set in ``[redis.connections]`` may hold."""

LATER_KEYS: Final = frozenset(
    """
    auth.session_hours ui.enabled
    """.split()
)
"""Documented options that no code of this version reads; setting one is refused, not ignored."""
