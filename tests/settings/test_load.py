"""Where values come from, and what is said about those that are not allowed."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from jobmon.settings import (
    KEYS,
    LATER_KEYS,
    SettingsError,
    explain,
    load,
    load_for_worker,
)
from jobmon.settings.explain import source_of, value_of

SECRET = "s3cret-hunter2"


def problems(overrides: dict[str, object] | None = None, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(overrides, environ=environ, cwd=Path("/nonexistent"))
    return caught.value.problems


def test_each_source_wins_over_the_ones_below(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.jobmon]\napp = "e"\nrelease = "e"\n')
    assert load(environ={}, cwd=tmp_path).app == "e"
    (tmp_path / "jobmon.toml").write_text('app = "d"\nenvironment = "d"\n')
    assert load(environ={}, cwd=tmp_path).app == "d"
    environ = {"JOB_MONITOR_APP": "c"}
    assert load(environ=environ, cwd=tmp_path).app == "c"
    settings = load({"app": "b"}, environ=environ, cwd=tmp_path)
    assert (settings.app, settings.environment, settings.release) == ("b", "d", "e")
    assert source_of(settings, "app") == "the call"
    assert source_of(settings, "environment") == f"{tmp_path / 'jobmon.toml'}: environment"
    assert source_of(settings, "release") == f"{tmp_path / 'pyproject.toml'}: tool.jobmon.release"
    assert source_of(settings, "listen") == "default"


def test_an_option_that_was_not_given_leaves_the_lower_source() -> None:
    assert load({"app": None}, environ={"JOB_MONITOR_APP": "shop"}).app == "shop"


def test_an_empty_variable_is_unset() -> None:
    settings = load(environ={"JOB_MONITOR_TRACKING_TTL": "", "JOB_MONITOR_REDIS_URL_FILE": ""})
    assert settings.tracking_ttl == 86_400


def test_the_configuration_file_can_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "jobmon.toml").write_text('app = "here"')
    elsewhere = tmp_path / "other.toml"
    elsewhere.write_text('app = "there"')
    environ = {"JOB_MONITOR_CONFIG": str(elsewhere)}
    assert load(environ=environ, cwd=tmp_path).app == "there"


def test_a_named_configuration_file_must_exist(tmp_path: Path) -> None:
    said = problems(JOB_MONITOR_CONFIG=str(tmp_path / "none.toml"))
    assert said == (
        f"cannot read {tmp_path / 'none.toml'} of JOB_MONITOR_CONFIG: No such file or directory",
    )


@pytest.mark.parametrize("content", [b"app = ", b"\xff", b"[redis"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jobmon.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"jobmon\.toml is not valid TOML"):
        load(environ={}, cwd=tmp_path)


def test_another_tool_in_pyproject_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.other]\nuses = "jobmon"\n')
    assert load(environ={}, cwd=tmp_path).app == "default"


def test_no_current_directory_leaves_the_defaults(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = (
        "import os; os.rmdir(os.getcwd())\n"
        "from jobmon.settings import load; print(load(environ={}).app)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=gone,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "default"


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "jobmon.toml").write_text("tracking_ttl = 1\n[redis]\nport = 'x'\n")
    with pytest.raises(SettingsError) as caught:
        load({"listen": "x"}, environ={"JOB_MONITOR_REDIS_SSL": "maybe"}, cwd=tmp_path)
    file = tmp_path / "jobmon.toml"
    assert set(caught.value.problems) == {
        "listen: 'x' from the call is not allowed; expected host:port with a port from 0 to "
        "65535, or unix:/path",
        f"tracking_ttl: 1 from {file}: tracking_ttl is not allowed; expected a whole number from "
        "60 to 31536000 s",
        f"redis.port: 'x' from {file}: redis.port is not allowed; expected a whole number from 1 "
        "to 65535",
        "redis.ssl: 'maybe' from JOB_MONITOR_REDIS_SSL is not allowed; expected one of 1, true, "
        "yes, on, 0, false, no, off",
    }
    assert str(caught.value).startswith("invalid configuration (4 problems):\n  ")


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "jobmon.toml").write_text("[redis]\nhots = 'a'\n")
    with pytest.raises(SettingsError) as caught:
        load(environ={}, cwd=tmp_path)
    assert caught.value.problems == (
        f"redis.hots: no such setting (in {tmp_path / 'jobmon.toml'}: redis.hots); "
        "did you mean redis.host?",
    )
    assert problems({"zzzzzzzzzzzzzz": 1}) == ("zzzzzzzzzzzzzz: no such setting (in the call)",)


@pytest.mark.parametrize("name", sorted(LATER_KEYS))
def test_a_key_that_no_code_reads_yet_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "jobmon.toml").write_text(f"{name} = 1")
    with pytest.raises(SettingsError, match="not supported by this version") as caught:
        load(environ={}, cwd=tmp_path)
    assert caught.value.problems[0].startswith(f"{name}: ")


def test_an_unknown_variable_is_a_warning_with_the_nearest() -> None:
    environ = {"JOB_MONITOR_REDS_URL": "x", "JOB_MONITOR_UI_ENABLED": "1", "OTHER": "1"}
    assert load(environ=environ).warnings == (
        "JOB_MONITOR_REDS_URL is ignored: jobmon knows no such variable; "
        "did you mean JOB_MONITOR_REDIS_URL?",
        "JOB_MONITOR_UI_ENABLED is ignored: ui.enabled is not supported by this version of jobmon",
    )


def test_our_own_variables_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.toml").touch()
    environ = {
        "JOB_MONITOR_COMMAND": "x",
        "JOB_MONITOR_PROCESS_ID": "x",
        "JOB_MONITOR_CONFIG": str(tmp_path / "a.toml"),
        "JOB_MONITOR_REDIS_PASSWORD_FILE": str(tmp_path / "a.toml"),
    }
    assert load(environ=environ).warnings == ()


def test_sanctum_means_token() -> None:
    settings = load({"middleware": ["api", "auth:sanctum"]}, environ={})
    assert settings.middleware == ("api", "auth:token")
    assert len(settings.warnings) == 1


# ---- secrets

SECRET_KEYS = [key for key in KEYS.values() if key.secret]
SECRET_VALUES = {
    "webhooks": '[{"url": "https://hooks.example/' + SECRET + '", "secret": "' + SECRET + '22"}]',
    "redis.url": f"redis://user:{SECRET}@cache:6379/1?password={SECRET}",
    "redis.password": SECRET,
    "database.url": f"postgresql://user:{SECRET}@db/shop?password={SECRET}",
    "celery.management_url": f"http://user:{SECRET}@mq:15672",
    "celery.broker_url": f"amqp://user:{SECRET}@mq/jobs",
    "rq.redis_url": f"redis://user:{SECRET}@rq:6379/1",
    "alertmanager.urls": f"http://jobmon:{SECRET}@alertmanager:9093",
    "alertmanager.bearer_token": SECRET,
    "auth.tokens": f"grafana:read:sha256:{'ab' * 32}",
    "auth.basic": f"ann:read:scrypt:16384:8:5:{'ab' * 16}:{'ab' * 32}",
}

FINE = {"redis.password", "alertmanager.urls", "alertmanager.bearer_token"}
"""Which may be any address."""


@pytest.mark.parametrize("key", SECRET_KEYS, ids=lambda key: key.name)
def test_a_secret_can_come_from_a_file(tmp_path: Path, key: object) -> None:
    name, variable = key.name, key.variable  # type: ignore[attr-defined]
    file = tmp_path / "secret"
    file.write_text(SECRET_VALUES[name] + "\n")
    from_file = load(environ={f"{variable}_FILE": str(file)})
    from_variable = load(environ={variable: SECRET_VALUES[name]})
    assert value_of(from_file, name) == value_of(from_variable, name) != KEYS[name].default
    assert source_of(from_file, name) == f"{variable}_FILE"


@pytest.mark.parametrize("key", SECRET_KEYS, ids=lambda key: key.name)
def test_a_secret_is_never_shown(key: object) -> None:
    name = key.name  # type: ignore[attr-defined]
    settings = load({name: SECRET_VALUES[name]}, environ={})
    text = f"{settings!r} {explain(settings)}"
    assert SECRET not in text
    assert "abab" not in text


@pytest.mark.parametrize("key", SECRET_KEYS, ids=lambda key: key.name)
@pytest.mark.parametrize("value", [f"http://{SECRET}", f"{SECRET}\x00", 7, [SECRET]], ids=repr)
def test_a_refused_secret_is_not_repeated(key: object, value: object) -> None:
    name = key.name  # type: ignore[attr-defined]
    if name in FINE and value == f"http://{SECRET}":
        return
    assert SECRET not in " ".join(problems({name: value}))


def test_redis_url_shows_where_it_leads() -> None:
    shown = {row.key: row.value for row in explain(load({"redis.url": SECRET_VALUES["redis.url"]}))}
    assert shown["redis.url"] == "redis://********@cache:6379/1?********"


def test_the_database_url_shows_where_it_leads() -> None:
    address = SECRET_VALUES["database.url"]
    shown = {row.key: row.value for row in explain(load({"database.url": address}))}
    assert shown["database.url"] == "postgresql://********@db/shop?********"
    for file in ("sqlite:///jobmon.db", "sqlite:////var/lib/jobmon.db"):
        shown = {row.key: row.value for row in explain(load({"database.url": file}))}
        assert shown["database.url"] == file


def test_a_value_beside_its_file_is_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    assert problems(
        JOB_MONITOR_REDIS_PASSWORD="y", JOB_MONITOR_REDIS_PASSWORD_FILE=str(tmp_path / "p")
    ) == (
        "redis.password: JOB_MONITOR_REDIS_PASSWORD and JOB_MONITOR_REDIS_PASSWORD_FILE are both "
        "set; keep one",
    )


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"\xff", "it is not UTF-8 text")]
)
def test_an_unreadable_secret_file_is_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    assert problems(JOB_MONITOR_REDIS_PASSWORD_FILE=str(file)) == (
        f"redis.password: cannot read {str(file)!r} of JOB_MONITOR_REDIS_PASSWORD_FILE: {reason}",
    )


# ---- named connections


def connections(tmp_path: Path, **environ: str) -> object:
    (tmp_path / "jobmon.toml").write_text(
        """
        [redis]
        url = "redis://:one@first/0"
        password = "one"
        prefix = "shop:"
        [redis.connections.second]
        host = "second"
        port = 6380
        """
    )
    return load(environ=environ, cwd=tmp_path).redis


def test_a_named_connection_stands_alone(tmp_path: Path) -> None:
    redis = connections(tmp_path, JOB_MONITOR_REDIS_CONNECTION="second")
    assert (redis.host, redis.port, redis.prefix) == ("second", 6380, "shop:")
    assert (redis.url, redis.password) == (None, None)


def test_without_a_name_the_other_connections_do_not_matter(tmp_path: Path) -> None:
    redis = connections(tmp_path)
    assert (redis.url, redis.host) == ("redis://:one@first/0", "127.0.0.1")


def test_a_variable_wins_over_a_named_connection(tmp_path: Path) -> None:
    redis = connections(
        tmp_path, JOB_MONITOR_REDIS_CONNECTION="second", JOB_MONITOR_REDIS_PORT="7000"
    )
    assert (redis.host, redis.port) == ("second", 7000)


def test_an_unknown_connection_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        connections(tmp_path, JOB_MONITOR_REDIS_CONNECTION="third")
    assert caught.value.problems == (
        "redis.connection: 'third' from JOB_MONITOR_REDIS_CONNECTION is not allowed; "
        "expected one of default, second",
    )


def test_a_bad_value_in_a_named_connection_says_where(tmp_path: Path) -> None:
    file = tmp_path / "jobmon.toml"
    file.write_text('redis.connection = "b"\n[redis.connections.b]\nport = 0\nprefix = "x"\n')
    with pytest.raises(SettingsError) as caught:
        load(environ={}, cwd=tmp_path)
    refused, misplaced = sorted(caught.value.problems, reverse=True)
    assert refused.startswith(f"redis.port: 0 from {file}: redis.connections.b.port is not allowed")
    assert misplaced.startswith("redis.connections.b.prefix: no such setting")


# ---- workers


def test_a_worker_warns_once_and_uses_the_default(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "jobmon.toml").write_text('unheard = 1\napp = "shop"')
    environ = {
        "JOB_MONITOR_REDIS_PORT": "ninety-one",
        "JOB_MONITOR_REDIS_PASSWORD": "\x01" + SECRET,
    }
    for _ in range(3):
        settings = load_for_worker(environ=environ, cwd=tmp_path)
    assert (settings.redis.port, settings.app) == (6379, "shop")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert sum("redis.port: 'ninety-one' from JOB_MONITOR_REDIS_PORT" in one for one in said) == 1
    assert all(one.endswith("; the default applies") for one in said)
    assert SECRET not in caplog.text


def test_a_worker_survives_what_nobody_thought_of(caplog: pytest.LogCaptureFixture) -> None:
    class Hostile(dict[str, str]):
        def items(self) -> object:  # type: ignore[override]
            raise RuntimeError("no")

    assert load_for_worker(environ=Hostile()).app == "default"
    assert "defaults apply" in caplog.text
