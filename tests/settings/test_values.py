"""Every key: its variable, its types, its range. Values are immutable."""

from __future__ import annotations

import json
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest

from jobmon.cli.init import template
from jobmon.settings import (
    KEYS,
    LATER_KEYS,
    Key,
    Listen,
    Password,
    PerCommand,
    Settings,
    SettingsError,
    Token,
    Webhook,
    load,
)
from jobmon.settings.explain import explain, source_of, value_of

DIGEST = "0123456789abcdef" * 4
SALT = "ab" * 16
HOOK = {"url": "https://hooks.example/T0", "secret": "sixteen letters."}
USER = f"ann@x.org:operate:scrypt:16384:8:5:{SALT}:{DIGEST}"

# Each key: text as in the environment, and the value it stands for. None is the default.
GOOD: dict[str, tuple[str, object]] = {
    "analyze_mode.enabled": ("no", False),
    "analyze_mode.retention_days": ("90", 90),
    "analyze_mode.performance_threshold": ("1.2", 1.2),
    "analyze_mode.performance_threshold_lower": ("0.7", 0.7),
    "analyze_mode.failed_jobs_threshold": ("3", 3.0),
    "analyze_mode.failed_jobs_threshold_lower": ("0", 0.0),
    "analyze_mode.job_count_threshold": ("1.01", 1.01),
    "analyze_mode.job_count_threshold_lower": ("0.99", 0.99),
    "analyze_mode.memory_threshold": ("2", 2.0),
    "analyze_mode.queue_time_threshold": ("5", 5.0),
    "analyze_mode.analysis_interval_minutes": ("5", 5),
    "analyze_mode.schedule_analysis_enabled": ("off", False),
    "analyze_mode.missed_execution_threshold_hours": ("1.5", 1.5),
    "analyze_mode.timezone": ("Europe/Berlin", "Europe/Berlin"),
    "analyze_mode.commands": ('{"a:*": {"mute": true}}', {"a:*": PerCommand(mute=True)}),
    "alertmanager.urls": (
        "http://am-1:9093/, https://u:p@am-2/x",
        ("http://am-1:9093", "https://u:p@am-2/x"),
    ),
    "alertmanager.bearer_token": ("sesame", "sesame"),
    "alertmanager.runbook_url": ("https://wiki.example/jobmon/", "https://wiki.example/jobmon"),
    "app": ("shop", "shop"),
    "environment": ("staging", "staging"),
    "release": ("2026.11-rc1", "2026.11-rc1"),
    "tags": ("eu, blue", ("eu", "blue")),
    "prefix": ("/monitor/v1/", "monitor/v1"),
    "middleware": (
        "auth:basic,auth:shop.asgi:Login,shop.asgi:Audit",
        ("auth:basic", "auth:shop.asgi:Login", "shop.asgi:Audit"),
    ),
    "queues": ('["high", "a,b"]', ("high", "a,b")),
    "queues_poll_seconds": ("0", 0.0),
    "listen": ("[::1]:9000", Listen("::1", 9000)),
    "public_url": ("https://jobs.example/base/", "https://jobs.example/base"),
    "trusted_proxies": (
        "10.0.0.0/8,fd00::/8,192.0.2.1",
        (ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("192.0.2.1/32")),
    ),
    "allowed_hosts": ("jobs.example", ("jobs.example",)),
    "tracking_ttl": ("60", 60),
    "completed_ttl": ("31536000", 31_536_000),
    "failed_ttl": ("61", 61),
    "webhooks": (
        json.dumps([{**HOOK, "min_severity": "high", "types": ["memory_growth"]}]),
        (Webhook(HOOK["url"], HOOK["secret"], "high", frozenset({"memory_growth"})),),
    ),
    "webhooks_allow_private": ("yes", True),
    "redis.connection": ("cache", "cache"),
    "redis.url": ("rediss://u:p@h:6380/3", "rediss://u:p@h:6380/3"),
    "redis.host": ("cache.internal", "cache.internal"),
    "redis.port": ("65535", 65_535),
    "redis.username": ("jobmon", "jobmon"),
    "redis.password": (" p, [x] ", " p, [x] "),
    "redis.database": ("15", 15),
    "redis.ssl": ("YES", True),
    "redis.timeout": ("0.05", 0.05),
    "redis.retry_interval": ("0", 0),
    "redis.prefix": ("shop:jobmon:", "shop:jobmon:"),
    "redis.record_timeout": ("1", 1.0),
    "database.url": ("postgresql://u:p@db:5433/shop", "postgresql://u:p@db:5433/shop"),
    "database.table_prefix": ("jobmon_", "jobmon_"),
    "database.auto_migrate": ("off", False),
    "recorder.shutdown_timeout": ("0", 0.0),
    "beats.interval_seconds": ("0.5", 0.5),
    "reaper.lost_after_seconds": ("60", 60.0),
    "late.processing_seconds": ("7200", 7200.0),
    "late.pending_seconds": ("60.5", 60.5),
    "history.retention_days": ("90", 90),
    "monitoring.commands_enabled": ("off", False),
    "monitoring.job_correlation_enabled": ("0", False),
    "exceptions.frame_count": ("0", 0),
    "exceptions.detailed_logging": ("on", True),
    "commands.include": ("orders:*, [a-c]?", ("orders:*", "[a-c]?")),
    "commands.exclude": ('["run*", "[!a]x"]', ("run*", "[!a]x")),
    "arguments.record": ("all", "all"),
    "failed.store_message": ("no", False),
    "celery.broker_url": ("amqps://u:p@h/v;redis://h:6380/1",) * 2,
    "celery.management_url": ("https://u:p@mq:15671/rabbit/", "https://u:p@mq:15671/rabbit"),
    "celery.global_keyprefix": ("shop:", "shop:"),
    "celery.sep": (":", ":"),
    "celery.priority_steps": ("0, 5,9", (0, 5, 9)),
    "rq.redis_url": ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    "redact.keys": ("pin, iban", ("pin", "iban")),
    "redact.max_bytes": ("64", 64),
    "otel.enabled": ("No", False),
    "otel.job_spans": ("never", "never"),
    "otel.trace_relation": ("link", "link"),
    "otel.trace_max_age_seconds": ("12.5", 12.5),
    "otel.close_lost_spans": ("off", False),
    "otel.record_exception_message": ("false", False),
    "auth.tokens": (f"a:read:sha256:{DIGEST.upper()}", (Token("a", "read", DIGEST),)),
    "auth.basic": (USER, (Password("ann@x.org", "operate", 16384, 8, 5, SALT, DIGEST),)),
    "auth.proxy_header": ("X-Forwarded-User", "x-forwarded-user"),
    "auth.proxy_scope": ("operate", "operate"),
    "auth.allow_unauthenticated": ("true", True),
    "rate_limiting.enabled": ("no", False),
    "rate_limiting.requests_per_minute": ("1", 1),
    "rate_limiting.burst_limit": ("100000", 100_000),
    "cors.origins": (
        "https://ops.example,http://localhost:3000,http://[::1]:3000",
        ("https://ops.example", "http://localhost:3000", "http://[::1]:3000"),
    ),
    "metrics.public": ("1", True),
    "metrics.series_retention_days": ("90", 90),
    "metrics.compat": ("1", True),
    "health_check.enabled": ("false", False),
    "health_check.public": ("yes", True),
    "health_check.redis_timeout": ("30", 30.0),
    "sync.enabled": ("no", False),
    "sync.interval_minutes": ("1440", 1440),
    "sync.batch_size": ("10000", 10_000),
    "sync.retry_attempts": ("0", 0),
    "sync.retry_delay_seconds": ("600", 600),
    "sync.cleanup_enabled": ("off", False),
    "sync.cleanup_after_hours": ("0", 0),
    "sync.max_memory_mb": ("32", 32),
    "sync.timeout_seconds": ("5", 5),
    "sync.chunk_delay_ms": ("0", 0),
    "health_check.db_timeout": ("0.05", 0.05),
    "health_check.max_metrics_age_hours": ("0", 0),
    "logging.channel": ("shop.jobs", "shop.jobs"),
    "logging.level": ("debug", "DEBUG"),
    "logging.structured": ("yes", True),
}

BAD: list[tuple[str, object]] = [
    ("app", ""),
    ("app", "x" * 65),
    ("app", "line\nbreak"),
    ("app", "\x1b[31m"),
    ("app", 7),
    ("tags", "1,2,3,4,5,6,7,8,9"),
    ("tags", ["x" * 65]),
    ("tags", [1]),
    ("tags", 1),
    ("tags", "[1, 2"),
    ("tags", {"a": "b"}),
    *(("prefix", value) for value in ("", "/", "a//b", "metrics", "/ui/x", "a b", "a?b", "é")),
    *(("middleware", value) for value in ("auth:magic", "auth:a.b", "auth:", "api;x")),
    *(("listen", value) for value in ("8765", "x:", ":80", "h:65536", "h:-1", "::1:80", "unix:a")),
    ("listen", 8765),
    *(("public_url", value) for value in ("jobs.example", "ftp://x", "http://u@h", "http://h?q")),
    *(("trusted_proxies", value) for value in ("10.0.0.1/8", "proxy", "1.2.3")),
    ("allowed_hosts", "a b"),
    *(("tracking_ttl", value) for value in (59, 31_536_001, "1e3", "60.0", 60.5, True, "x", "٦٠")),
    *(
        ("webhooks", value)
        for value in (
            *("https://hooks.example", 7, {"url": HOOK["url"]}, "[", "[" * 100_000, [7], [[HOOK]]),
            *([{}], [{"secret": HOOK["secret"]}], [HOOK | {"urls": 1}], [HOOK, HOOK], [HOOK] * 21),
            *([{"url": value}] for value in (7, "", "ftp://h", "https://", "http://:80", "h/x")),
            *(
                [{"url": f"https://{value}"}]
                for value in ("u:p@h", "h#f", "h:x", "h:65536", "ö.de")
            ),
            *([{"url": f"https://{value}"}] for value in ("[::1", "h/a b", "h\n", "h" * 2048)),
            *([HOOK | {"secret": value}] for value in ("", "x" * 15, "x" * 256, 7, "\0" * 16)),
            [HOOK | {"secret": "\ud800" * 16}],
            *([HOOK | {"min_severity": value}] for value in ("", "HIGH", "urgent", 3, None, [])),
            *([HOOK | {"types": value}] for value in ("memory_growth", ["slow"], [7], [[]], {})),
        )
    ),
    ("webhooks_allow_private", "perhaps"),
    *(("redis.port", value) for value in (0, 65_536, "0x50", -1, "9" * 30)),
    *(("redis.url", value) for value in ("h:6379", "http://h", "redis://", "unix:", "redis://h:x")),
    ("redis.url", "redis+sentinel://h/name"),
    ("redis.url", "redis+cluster://h"),
    *(("database.url", value) for value in ("shop.db", "oracle://h/d", "postgresql://h", "", 7)),
    *(("database.url", value) for value in ("sqlite://", "sqlite:///:memory:", "sqlite://a.db")),
    *(("database.url", value) for value in ("mysql+mysqldb://h/d", "postgresql://h:x/d")),
    *(("database.table_prefix", value) for value in ("1a", "A_", "a-", "x" * 17, 7)),
    ("database.auto_migrate", "perhaps"),
    *(("redis.timeout", value) for value in (0, 0.049, 61, "nan", "inf", "1.2.3", "", True, [])),
    ("redis.timeout", float("nan")),
    *(("redis.ssl", value) for value in (1, "2", "", "y", [])),
    *(("redis.prefix", value) for value in ("", "a b", "{x}:", "a*", "x" * 101)),
    ("redis.connection", "a b"),
    ("redis.database", 65_536),
    ("redis.retry_interval", 10_001),
    ("redis.record_timeout", 0),
    ("recorder.shutdown_timeout", -0.1),
    *(("beats.interval_seconds", value) for value in (0, 0.09, 301, "often")),
    *(("reaper.lost_after_seconds", value) for value in (0.9, 86_401, "later")),
    *(("late.processing_seconds", value) for value in (0, 31_536_001, "long")),
    *(("late.pending_seconds", value) for value in (0, 31_536_001, "long")),
    *(("history.retention_days", value) for value in (-1, 36_501, "a month")),
    *(("metrics.series_retention_days", value) for value in (-1, 3_651, "a month")),
    ("exceptions.frame_count", 51),
    *(("analyze_mode.performance_threshold", value) for value in (1, 1000.1, "x")),
    *(("analyze_mode.performance_threshold_lower", value) for value in (1, -0.1, True)),
    *(("analyze_mode.missed_execution_threshold_hours", value) for value in (0, 8761)),
    *(("analyze_mode.timezone", value) for value in ("Europe/Berln", "Europe", "", "CEST+2", 1)),
    *(("analyze_mode.retention_days", value) for value in (0, 366)),
    *(("analyze_mode.analysis_interval_minutes", value) for value in (0, 10_081)),
    *(("alertmanager.urls", [value]) for value in ("am:9093", "http://", "http://h?q", "ftp://h")),
    *(("alertmanager.urls", [value]) for value in ("http://h:x", "http://h#f", "http://ö", 7)),
    ("alertmanager.urls", ["http://h"] * 21),
    *(("alertmanager.bearer_token", value) for value in ("", "a b", "é", 7)),
    ("alertmanager.runbook_url", "wiki.example"),
    *(("commands.include", [value]) for value in ("", "!x", "a[b", "[]", "x" * 256, "a\nb", 1)),
    ("commands.exclude", "orders:[ab"),
    ("commands.exclude", 7),
    ("arguments.record", "ALL"),
    ("failed.store_message", "all"),
    *(("celery.broker_url", value) for value in ("h:5672", "sqs://", "amqp://", "redis://h:x")),
    *(
        ("celery.management_url", value)
        for value in (
            "mq:15672",
            "amqp://u@mq",
            "http://",
            "http://h",
            "http://u@h:x",
            "http://u@h/?a",
        )
    ),
    ("celery.priority_steps", "10"),
    ("celery.sep", "\x06\x16"),
    ("queues_poll_seconds", "61"),
    ("rq.redis_url", "http://h"),
    ("redact.max_bytes", 63),
    ("otel.job_spans", "both"),
    ("otel.trace_relation", "parent"),
    ("logging.level", "LOUD"),
    ("logging.channel", "a b"),
    ("health_check.redis_timeout", 31),
    *(("sync.batch_size", value) for value in (0, 10_001, "all")),
    ("sync.interval_minutes", 0),
    ("sync.retry_attempts", 21),
    ("sync.max_memory_mb", 31),
    ("sync.timeout_seconds", 4),
    ("health_check.db_timeout", 0.01),
    *(("health_check.max_metrics_age_hours", value) for value in (-1, 8761, 1.5)),
    *(
        ("auth.tokens", value)
        for value in (
            "plain",
            f"a:admin:sha256:{DIGEST}",
            f"a:read:md5:{DIGEST}",
            f"a:read:sha256:{DIGEST[1:]}",
            f":read:sha256:{DIGEST}",
        )
    ),
    *(
        ("auth.basic", value)
        for value in (
            "plain",
            USER.replace("operate", "admin"),
            USER.replace("scrypt", "sha256"),
            USER.replace("@", " "),
            USER.replace("16384", "16385"),
            USER.replace("16384", "1048576"),
            USER.replace(":8:5:", ":0:5:"),
            USER.replace(":8:5:", ":8:999:"),
            USER.replace(SALT, SALT[2:]),
            USER[:-1],
        )
    ),
    *(("auth.proxy_header", value) for value in ("a b", "", "X:Y", "Authorization", "x" * 65)),
    ("auth.proxy_scope", "admin"),
    *(("rate_limiting.requests_per_minute", value) for value in (0, 100_001, "many")),
    *(("rate_limiting.burst_limit", value) for value in (0, 100_001, 1.5)),
    *(
        ("cors.origins", value)
        for value in (
            *("*", "null", "ops.example", "https://ops.example/", "https://Ops.example"),
            *("https://ops.example:443", "http://ops.example:80", "ftp://x", "https://u@x"),
        )
    ),
]


def by_name(key: Key) -> str:
    return key.name


def test_every_key_is_tried_here() -> None:
    assert set(GOOD) == set(KEYS)


@pytest.mark.parametrize("key", KEYS.values(), ids=by_name)
def test_every_key_can_be_set_by_its_variable(key: Key, tmp_path: Path) -> None:
    text, value = GOOD[key.name]
    settings = load(environ={key.variable: text}, cwd=_with_connection(tmp_path))
    assert value_of(settings, key.name) == value != key.default
    assert source_of(settings, key.name) == key.variable
    assert settings.warnings == ()
    changed = {name for name in KEYS if value_of(settings, name) != KEYS[name].default}
    assert changed <= {key.name, "redis.host"}


def _with_connection(folder: Path) -> Path:
    (folder / "jobmon.toml").write_text('[redis.connections.cache]\nhost = "cache"\n')
    return folder


@pytest.mark.parametrize("key", KEYS.values(), ids=by_name)
def test_every_key_can_be_set_in_a_file(key: Key, tmp_path: Path) -> None:
    text, value = GOOD[key.name]
    native = value if isinstance(value, bool | int | float | str) else text
    file = _with_connection(tmp_path) / "jobmon.toml"
    file.write_text(f"{key.name} = {json.dumps(native)}\n{file.read_text()}")
    settings = load(environ={}, cwd=tmp_path)
    assert value_of(settings, key.name) == value
    assert source_of(settings, key.name) == f"{file}: {key.name}"


@pytest.mark.parametrize(
    ("name", "value"), BAD, ids=[f"{name}={value!r:.80}" for name, value in BAD]
)
def test_a_bad_value_names_key_source_and_what_is_allowed(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: value}, environ={})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: ")
    assert " from the call is not allowed" in problem
    assert f"expected {KEYS[name].rule.allowed}" in problem
    if isinstance(value, str | int) and not KEYS[name].secret and len(repr(value)) < 100:
        assert repr(value) in problem


URLS = {
    "redis.url": "redis",
    "rq.redis_url": "redis",
    "celery.broker_url": "amqp",
    "celery.management_url": "http",
    "database.url": "postgresql",
    "alertmanager.urls": "http",
    "webhooks": "https",
}


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "rest",
    [
        *("ops:hunter2/x@h:1/d", "ops:hunter2#@h/d", "ops:hunter2?@h/d", "ops:1@h:hunter2/d"),
        *("ops:\uff1ahunter2@h/d", "[hunter2/d", "[hunter2]@h/d", "ops:[hunter2@h/d"),
    ],
)
def test_no_password_of_a_malformed_address_is_repeated(name: str, rest: str) -> None:
    url = f"{URLS[name]}://{rest}"
    value: object = [{"url": url}] if name == "webhooks" else url
    with pytest.raises(SettingsError) as caught:
        load({name: value}, environ={})
    assert "hunter2" not in str(caught.value)
    assert f"expected {KEYS[name].rule.allowed}" in str(caught.value)


def test_a_malformed_public_address_is_told_in_our_words() -> None:
    with pytest.raises(SettingsError, match="its host is bad, or its port"):
        load({"public_url": "http://jobs.example:http"}, environ={})


@pytest.mark.parametrize("word", ["1", "true", "YES", "On"])
def test_words_for_true(word: str) -> None:
    assert load({"redis.ssl": word}, environ={}).redis.ssl is True


@pytest.mark.parametrize("word", ["0", "FALSE", "no", "Off"])
def test_words_for_false(word: str) -> None:
    assert load({"redis.ssl": word}, environ={}).redis.ssl is False


@pytest.mark.parametrize(
    ("text", "value"),
    [("", ()), ("a", ("a",)), (" a ,, b\n c,", ("a", "b", "c")), ("[]", ()), ('["a"]', ("a",))],
)
def test_lists(text: str, value: tuple[str, ...]) -> None:
    assert load({"queues": text}, environ={}).queues == value


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/jobmon.sock", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("jobs.example:1", False),
        ("localhost.example:1", False),
    ],
)
def test_listen_knows_what_others_can_reach(text: str, local: bool) -> None:
    listen = load({"listen": text}, environ={}).listen
    assert listen.is_local is local
    assert str(listen) == text


def test_defaults_hold_what_the_table_says() -> None:
    for settings in (Settings(), load(environ={}, cwd=Path("/nonexistent"))):
        assert {name: value_of(settings, name) for name in KEYS} == {
            name: key.default for name, key in KEYS.items()
        }
        assert {row.source for row in explain(settings)} == {"default"}


def test_defaults_pass_their_own_rules() -> None:
    for key in KEYS.values():
        if key.default is None or key.default == ():
            continue
        value = str(key.default) if isinstance(key.default, Listen) else key.default
        assert key.rule(value) == key.default


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(AttributeError):
        settings.app = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        settings.redis.port = 1  # type: ignore[misc]


def test_a_section_takes_only_its_own_keys() -> None:
    with pytest.raises(TypeError, match="Settings has no prot"):
        Settings(prot=1)  # type: ignore[call-arg]


def test_variables_are_unique_and_later_keys_apart() -> None:
    variables = [key.variable for key in KEYS.values()]
    assert len(set(variables)) == len(variables)
    assert not LATER_KEYS & set(KEYS)


def test_the_commented_file_lists_every_key_with_its_default(tmp_path: Path) -> None:
    text = template()
    assert not tomllib.loads(text).get("app")
    assert all(not table for table in tomllib.loads(text).values())
    lines = [
        line.removeprefix("#") if line.startswith("#") and line[1:2].isalpha() else line
        for line in text.partition("# Other Redis connections")[0].splitlines()
        if '"..."' not in line
    ]
    (tmp_path / "jobmon.toml").write_text("\n".join(lines))
    settings = load(environ={}, cwd=tmp_path)
    for key in KEYS.values():
        assert value_of(settings, key.name) == key.default
        assert key.default is None or source_of(settings, key.name) != "default"
