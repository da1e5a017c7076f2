"""The composition: whole, pinned and closed; and two servers behind its proxy, run for real."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from jobmon.model import Outcome
from jobmon.settings import load
from tests.conftest import RedisServer
from tests.prometheus import Prometheus, binary, free_port, running
from tests.serving import PREFIX, Recorded, Served, bearer, until

FOLDER = Path(__file__).parents[2] / "exporters/compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = ("jobmon-1", "jobmon-2")
KEYS = set(
    "image build environment secrets depends_on healthcheck read_only tmpfs cap_drop security_opt "
    "stop_grace_period restart networks volumes ports command".split()
)
HEALTH = {"test", "interval", "timeout", "retries", "start_period"}
NO_SHELL = {"tempo", "collector"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_healthy_and_restarts(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= KEYS
    host, _, tag = service["image"].rpartition(":")
    assert "." not in host.partition("/")[0]
    if name in SERVERS:
        assert tag == "local"
    else:
        assert re.match(r"v?\d+\.\d+\.?\d*(-alpine)?$", tag)
    assert service["restart"] == "unless-stopped"
    assert service["networks"] == ["jobmon"]
    assert ("healthcheck" in service) == (name not in NO_SHELL)
    assert set(service.get("healthcheck", {})) <= HEALTH


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_needs_is_there(name: str) -> None:
    service = SERVICES[name]
    for other, how in service.get("depends_on", {}).items():
        wanted = "service_started" if other in NO_SHELL else "service_healthy"
        assert how == {"condition": wanted}
        assert other in SERVICES
    assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    for volume in service.get("volumes", ()):
        source, target, *mode = volume.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            # Grafana's are written beside this.
            assert (FOLDER / source).exists() or "/grafana/" in source, source
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


def test_nothing_is_declared_in_vain() -> None:
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if not volume.startswith(".")
    }
    assert used == set(COMPOSE["volumes"])
    secrets = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert secrets == set(COMPOSE["secrets"])


def test_nothing_listens_beyond_this_machine() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_the_image_is_built_from_what_the_repository_has() -> None:
    build = SERVICES["jobmon-1"]["build"]
    assert SERVICES["jobmon-2"]["build"] == build
    root = FOLDER / build["context"]
    container = root / build["dockerfile"]
    assert container == FOLDER / "Containerfile" or container.samefile(FOLDER / "Containerfile")
    wanted = Path(f"{container}.dockerignore").read_text().splitlines()
    for entry in wanted:
        if entry.startswith("!") and entry != "!grafana":
            assert (root / entry[1:]).exists(), entry
    stages = re.findall(r"^FROM (\S+)", container.read_text(), re.MULTILINE)
    assert len(set(stages)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", stages[0])
    assert re.search(r"^USER \d+", container.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes, in a folder of its own."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(FOLDER / "secrets.sh", folder)
    subprocess.run(["sh", str(folder / "secrets.sh")], check=True, cwd="/")
    return folder / "secrets"


def test_the_script_makes_each_secret_once(secrets: Path) -> None:
    named = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert {path.name for path in secrets.iterdir()} == named | {"read_token"}
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert all(len(text) > 20 for text in before.values())
    subprocess.run(["sh", str(secrets.parent / "secrets.sh")], check=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before


def server_environment(secrets: Path) -> dict[str, str]:
    """Variables of the servers, whose files are here."""
    environment: dict[str, str] = SERVICES["jobmon-1"]["environment"]
    assert SERVICES["jobmon-2"]["environment"] == environment
    return {
        name: value.replace("/run/secrets", str(secrets)) for name, value in environment.items()
    }


def test_the_servers_know_every_variable(secrets: Path, tmp_path: Path) -> None:
    environment = server_environment(secrets)
    settings = load(environ=environment, cwd=tmp_path)
    assert settings.database.url.startswith("postgresql://jobmon:")
    assert len(settings.auth.tokens) == 2
    (network,) = COMPOSE["networks"]["jobmon"]["ipam"]["config"]
    assert ip_network(network["subnet"]) == ip_network(environment["JOB_MONITOR_TRUSTED_PROXIES"])
    assert {*SERVERS, "jobmon"} <= set(environment["JOB_MONITOR_ALLOWED_HOSTS"].split(","))


def test_promtool_finds_no_fault(secrets: Path, tmp_path: Path) -> None:
    text = (FOLDER / "prometheus.yml").read_text()
    rules = FOLDER.parents[1] / "alerts/prometheus"
    path = tmp_path / "prometheus.yml"
    path.write_text(
        text.replace("/etc/prometheus/rules", str(rules)).replace("/run/secrets", str(secrets))
    )
    checked = subprocess.run(
        [binary("promtool"), "check", "config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 rule files found" in checked.stdout


@pytest.mark.parametrize(
    "name",
    [
        *("prometheus.yml", "haproxy.cfg", "grafana-datasources.yaml"),
        "../otel-collector/collector.yaml",
    ],
)
def test_its_files_speak_of_services_that_there_are(name: str) -> None:
    text = re.sub(r"^\s*#.*$", "", (FOLDER / name).read_text(), flags=re.MULTILINE)
    named = re.findall(r"(?:^|[\s\"/])([a-z][a-z\d-]*):\d{4,5}\b", text)
    assert named
    assert set(named) <= set(SERVICES)


@contextmanager
def haproxy(folder: Path, *servers: Served) -> Iterator[str]:
    """The proxy that ships, before these; the address that it listens on."""
    port = free_port()
    text = (FOLDER / "haproxy.cfg").read_text().replace("bind :8765", f"bind 127.0.0.1:{port}")
    text = text.replace("resolvers docker init-addr last,libc,none", "")
    for name, server in zip(SERVERS, servers, strict=True):
        address = server.url.removeprefix("http://")
        text = text.replace(f"{name}:8765", address)
    path = folder / "haproxy.cfg"
    path.write_text(text)
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [binary("haproxy"), "-W", "-f", str(path)], stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is None and answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.live
def test_two_servers_answer_under_one_address_and_one_alone_goes_on(
    redis_server: RedisServer, recorded: Recorded, secrets: Path, tmp_path: Path
) -> None:
    recorded.run("nightly").jobs(3, Outcome.COMPLETED)
    given = {
        name.removeprefix("JOB_MONITOR_"): value
        for name, value in server_environment(secrets).items()
    }
    del given["DATABASE_URL_FILE"], given["REDIS_URL"]
    given |= {"LISTEN": "127.0.0.1:0", "TRUSTED_PROXIES": "127.0.0.1"}
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], "200ms")
    del config["rule_files"], config["alerting"]
    people = bearer((secrets / "read_token").read_text())
    with (
        Served(redis_server.url, **given) as one,
        Served(redis_server.url, **given) as other,
        haproxy(tmp_path, one, other) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        targets = {"jobmon:8765": [url], "jobmon-1:8765": [one.url, other.url]}
        for job in config["scrape_configs"]:
            ours = targets[job["static_configs"][0]["targets"][0]]
            job["static_configs"] = [{"targets": [a.removeprefix("http://") for a in ours]}]
            job["authorization"]["credentials_file"] = str(secrets / "prometheus_token")
        prometheus = Prometheus(tmp_path / "prometheus", yaml.safe_dump(config))
        with running(prometheus):
            finished = 'jobmon_jobs_finished_total{outcome="completed"}'
            until(lambda: prometheus.value(finished) == 3)
            until(lambda: prometheus.value("sum(up)") == 3)
            assert client.get(f"{PREFIX}/commands/running").status_code == 401
            one.stop()
            for _ in range(20):
                answer = client.get(f"{PREFIX}/commands/running", headers=people)
                assert answer.status_code == 200, answer.text
            assert answer.json()["data"][0]["command"] == "nightly"
            assert prometheus.value(f"resets({finished}[5m])") == 0
