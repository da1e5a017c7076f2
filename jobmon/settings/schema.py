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

from jobmon.settings import parse
from jobmon.settings.parse import Listen, Rule, Token

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
class Recorder(Section):
    """The buffer in your processes."""

    shutdown_timeout: float = _key(
        2.0,
        parse.number(0, 60, "s"),
        "Longest last flush when a worker stops or an interpreter exits.",
    )


@_frozen
class Monitoring(Section):
    """What is recorded at all."""

    commands_enabled: bool = _key(
        True, parse.boolean(), "Record command runs. Off: the API answers empty lists."
    )
    job_correlation_enabled: bool = _key(
        True, parse.boolean(), "Record jobs and link them to their command. Off: no hook acts."
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
        "Whose arguments are kept, redacted: those of failed jobs, of all, of none.",
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
class HealthCheck(Section):
    """The `health` endpoint."""

    enabled: bool = _key(True, parse.boolean(), "Off: the endpoint answers 404.")
    public: bool = _key(
        False, parse.boolean(), "Without a token it answers too, but with states alone."
    )
    redis_timeout: float = _key(2.0, parse.number(0.05, 30, "s"), "Longest wait for Redis.")


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
        parse.many(parse.token(), 1000, "a list, each name:scope:sha256:<hex>"),
        "Bearer tokens: `name:scope:sha256:<hex of the token's SHA-256>`; scope `read`, `operate` "
        "(read included) or `metrics`.",
        secret=True,
    )
    allow_unauthenticated: bool = _key(
        False,
        parse.boolean(),
        "Listen beyond this machine without any authentication. The API is then read-only.",
    )


@_frozen
class Metrics(Section):
    """The Prometheus endpoint."""

    public: bool = _key(False, parse.boolean(), "`/metrics` answers without a token.")


@_frozen
class Otel(Section):
    """Spans of commands and jobs through the OpenTelemetry API."""

    enabled: bool = _key(
        True,
        parse.boolean(),
        "Make spans; without an SDK in the process they cost almost nothing.",
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
        "Shown in runs and jobs; `testing` starts no periodic work.",
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
        parse.many(parse.middleware(), 50),
        "Layers of the API, outermost first. `auth:sanctum` means `auth:token`.",
    )
    queues: tuple[str, ...] = _key(
        (),
        parse.many(parse.text(255), 1000),
        "Queues that `stats` always shows, also while they are empty.",
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
        "`Host` headers that are answered. Empty: this machine's names and the host of "
        "`public_url`.",
    )
    tracking_ttl: int = _key(86_400, _TTL, "Life of a run's keys while any of its work is open.")
    completed_ttl: int = _key(3_600, _TTL, "Life of a run's keys after all of it succeeded.")
    failed_ttl: int = _key(172_800, _TTL, "Life of a run's keys after some of it failed.")
    redis: Redis = _section(Redis)
    recorder: Recorder = _section(Recorder)
    monitoring: Monitoring = _section(Monitoring)
    arguments: Arguments = _section(Arguments)
    exceptions: Exceptions = _section(Exceptions)
    redact: Redact = _section(Redact)
    otel: Otel = _section(Otel)
    auth: Auth = _section(Auth)
    metrics: Metrics = _section(Metrics)
    health_check: HealthCheck = _section(HealthCheck)
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
    analyze_mode.enabled analyze_mode.retention_days analyze_mode.performance_threshold
    analyze_mode.performance_threshold_lower analyze_mode.failed_jobs_threshold
    analyze_mode.failed_jobs_threshold_lower analyze_mode.job_count_threshold
    analyze_mode.job_count_threshold_lower analyze_mode.analysis_interval_minutes
    analyze_mode.schedule_analysis_enabled analyze_mode.missed_execution_threshold_hours
    sync.enabled sync.interval_minutes sync.batch_size sync.retry_attempts
    sync.retry_delay_seconds sync.cleanup_enabled sync.cleanup_after_hours sync.max_memory_mb
    sync.timeout_seconds sync.chunk_delay_ms health_check.db_timeout
    health_check.max_metrics_age_hours rate_limiting.enabled rate_limiting.requests_per_minute
    rate_limiting.burst_limit database.url database.table_prefix database.auto_migrate
    history.retention_days failed.store_message auth.basic auth.proxy_header auth.session_hours
    cors.origins ui.enabled webhooks webhooks_allow_private reaper.lost_after_seconds
    """.split()
)
"""Documented options that no code of this version reads; setting one is refused, not ignored."""
