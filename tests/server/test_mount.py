"""Inside other applications, served by uvicorn as the how-to says: its examples are what runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from jobmon.store.keys import LEADER
from tests.conftest import RedisServer
from tests.serving import PREFIX, READ, TOKENS, Recorded, bearer, environment, until

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[2] / "docs/howto/mount.md"
HOSTS = ("fastapi", "starlette", "django")
DJANGO_SETTINGS = """
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
"""
DJANGO_URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("hello", lambda request: HttpResponse("hello"))]
"""


def examples() -> dict[str, str]:
    """The how-to's programs by the file name in their first line."""
    blocks = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(blocks)


class Host(NamedTuple):
    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path


@contextmanager
def hosted(folder: Path, target: str, *options: str, **settings: str) -> Iterator[Host]:
    """uvicorn with one of the how-to's programs, which lie in a folder."""
    for name, text in examples().items():
        (folder / f"{name}.py").write_text(text)
    shop = folder / "shop"
    shop.mkdir(exist_ok=True)
    (shop / "settings.py").write_text(DJANGO_SETTINGS)
    (shop / "urls.py").write_text(DJANGO_URLS)
    log = folder / "log"
    env = environment(RATE_LIMITING_ENABLED="false", **settings)
    env["PYTHONPATH"] = os.pathsep.join((str(folder), env["PYTHONPATH"]))
    command = [sys.executable, "-m", "uvicorn", target, "--port", "0", *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=folder, env=env, stderr=stderr)

    def url() -> str:
        assert process.poll() is None, log.read_text()
        found = re.search(r"running on (http://\S+)", log.read_text())
        return found[1] if found else ""

    try:
        until(lambda: bool(url()), 30)
        with httpx.Client(base_url=url(), trust_env=False, timeout=20) as client:
            yield Host(process, client, log)
    finally:
        process.kill()
        process.wait()


def leads(store: RedisServer) -> bool:
    """Whether some server does the periodic work."""
    with store.client() as client:
        return bool(client.exists(f"jobmon:lease:{LEADER}"))


@pytest.mark.parametrize("host", HOSTS)
def test_mounted_as_the_how_to_says(
    host: str, recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    run = recorded.run()
    run.jobs(3)
    target = f"{host}_host:app"
    with hosted(tmp_path, target, REDIS_URL=store.url, AUTH_TOKENS=TOKENS) as served:
        # The work began with the host, before any request.
        until(lambda: leads(store))
        get = served.client.get
        assert "hello" in get("/hello").text
        assert get(f"/jobmon{PREFIX}/stats").status_code == 401
        running = get(f"/jobmon{PREFIX}/commands/running", headers=bearer(READ))
        assert [one["id"] for one in running.json()["data"]] == [run.id]
        jobs = get(f"/jobmon{PREFIX}/commands/{run.id}/jobs", headers=bearer(READ))
        assert len(jobs.json()["data"]) == 3
        assert "jobmon_jobs_pending" in get("/jobmon/metrics", headers=bearer(READ)).text
        assert get("/jobmon/livez", headers={"Host": "any.example"}).status_code == 200
        assert get("/jobmon/metrics", headers={"Host": "evil.example"}).status_code == 400
        missing = get("/jobmon/nope", headers=bearer(READ))
        assert (missing.status_code, missing.json()["message"]) == (404, "Not found.")
        assert get(f"{PREFIX}/stats", headers=bearer(READ)).status_code == 404

        # It ends with the host: another one could lead at once.
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(20)
        assert not leads(store)
        assert "Traceback" not in served.log.read_text()


def test_a_link_leads_back_through_the_mount(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    run = recorded.run()
    run.jobs(10_010)
    with hosted(tmp_path, "starlette_host:app", REDIS_URL=store.url) as served:
        first = served.client.get(f"/jobmon{PREFIX}/commands/{run.id}/jobs")
        following = first.links["next"]["url"]
        base = str(served.client.base_url).rstrip("/")
        assert following.startswith(f"{base}/jobmon{PREFIX}/commands/{run.id}/jobs?cursor=")
        assert len(served.client.get(following).json()["data"]) == 10


def test_without_a_lifespan_the_work_begins_with_the_first_request(
    store: RedisServer, tmp_path: Path
) -> None:
    options = ("--lifespan", "off")
    with hosted(
        tmp_path, "fastapi_host:app", *options, REDIS_URL=store.url, AUTH_TOKENS=TOKENS
    ) as served:
        assert served.client.get("/hello").status_code == 200
        assert served.client.get(f"/jobmon{PREFIX}/stats").status_code == 401
        assert not leads(store)
        running = served.client.get(f"/jobmon{PREFIX}/commands/running", headers=bearer(READ))
        assert running.status_code == 200
        until(lambda: leads(store))
        # Nothing of it holds the host up at its end.
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(20)


@pytest.mark.parametrize("host", HOSTS)
def test_a_fault_of_jobmon_is_not_the_hosts(
    host: str, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "faulty.py").write_text(
        "class Layer:\n"
        "    def __init__(self, app):\n"
        "        pass\n"
        "    async def __call__(self, scope, receive, send):\n"
        "        raise RuntimeError('secret')\n"
    )
    settings = {"REDIS_URL": own_redis_server.url, "MIDDLEWARE": "api,faulty:Layer"}
    with hosted(tmp_path, f"{host}_host:app", **settings) as served:
        answer = served.client.get(f"/jobmon{PREFIX}/stats")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "hello" in served.client.get("/hello").text


@pytest.mark.parametrize("host", HOSTS)
def test_a_redis_that_is_away_is_not_the_hosts_trouble(
    host: str, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    own_redis_server.stop()
    with hosted(tmp_path, f"{host}_host:app", REDIS_URL=own_redis_server.url) as served:
        assert served.client.get(f"/jobmon{PREFIX}/commands/running").status_code == 503
        assert "hello" in served.client.get("/hello").text
        own_redis_server.start()
        until(lambda: served.client.get(f"/jobmon{PREFIX}/commands/running").status_code == 200)


def test_as_an_application_of_its_own_it_knows_this_machine_alone(
    store: RedisServer, tmp_path: Path
) -> None:
    options = ("--host", "0.0.0.0")
    settings = {"REDIS_URL": store.url, "LOGGING_STRUCTURED": "true"}
    with hosted(tmp_path, "jobmon.asgi:app", *options, **settings) as served:
        port = served.client.base_url.port
        local = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        with local:
            assert local.get(f"{PREFIX}/commands/running").status_code == 200
            elsewhere = own_address()
            if elsewhere:
                address = f"http://{elsewhere}:{port}{PREFIX}/commands/running"
                host = {"Host": "localhost"}
                assert httpx.get(address, headers=host, trust_env=False).status_code == 401
        until(lambda: '"logger":"jobmon.access"' in served.log.read_text())
        until(lambda: leads(store))


def own_address() -> str:
    """An address of this machine that others can reach; empty if it has none."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def test_a_wrong_setting_is_seen_at_the_start(tmp_path: Path) -> None:
    env = {**environment(MIDDLEWARE="api,auth:basic"), "PYTHONPATH": environment()["PYTHONPATH"]}
    said = subprocess.run(
        [sys.executable, "-c", "from jobmon.server import create_app; create_app()"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 1
    assert "auth.basic: middleware holds auth:basic, so it must be set" in said.stderr


def test_redis_is_asked_for_nothing_before_the_host_runs() -> None:
    code = (
        "import socket\n"
        "def refuse(*_): raise SystemExit('a connection')\n"
        "socket.socket.connect = refuse\n"
        "from jobmon.asgi import app\n"
        "print(type(app).__name__)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.stdout.strip() == "Starlette", said.stderr
