"""The programs of the how-to, run as they stand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobmon.publish.outbound import Outbound
from jobmon.publish.sink import NotDeliveredError
from jobmon.publish.webhooks import WebhookSink
from jobmon.settings import load
from jobmon.store.events import Events
from tests.conftest import RedisServer
from tests.publish.outbox import event
from tests.serving import environment, until
from tests.syncing import COMMAND

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[2].joinpath("docs/howto/alerts.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n(# \w+\.py)\n(.*?)```", PAGE, re.DOTALL))


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def running(*command: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def joined(store: RedisServer, group: str) -> bool:
    with store.client() as client:
        known: Any = client
        groups = known.xinfo_groups("jobmon:anomalies:events") if known.dbsize() else []
        return [one["name"] for one in groups if one["consumers"]] == [group.encode()]


def add(store: RedisServer, *states: str) -> None:
    settings = load({"redis.url": store.url}, environ={})
    with store.client() as client:
        for state in states:
            one = event(state=state)
            Events(client, settings).add(one.id, json.dumps(one.to_dict()))


def test_every_program_is_run() -> None:
    assert list(PROGRAMS) == ["# alerts.py", "# watch.py", "# receiver.py"]


def test_an_event_has_these_members() -> None:
    assert set(json.loads(block("json"))) == set(event().to_dict())


def test_handlers(store: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "alerts.py").write_text(PROGRAMS["# alerts.py"])
    (options,) = re.findall(r"\$ jobmon (events --import .*)", PAGE)
    env = {**environment(REDIS_URL=store.url), "PYTHONUNBUFFERED": "1"}
    with running(*COMMAND, *options.split(), cwd=tmp_path, env=env) as one:
        until(lambda: joined(store, "pager"))
        add(store, "opened", "resolved")
        assert one.stdout is not None
        said = [one.stdout.readline() for _ in range(4)]
    assert said[1] == f"page: {event().summary}\n"
    assert said[3] == "over: data:process\n"


def test_listening(store: RedisServer) -> None:
    program = ("-u", "-W", "error", "-c", PROGRAMS["# watch.py"])
    with running(sys.executable, *program, env=environment(REDIS_URL=store.url)) as one:
        until(lambda: joined(store, "watch"))
        add(store, "opened")
        assert one.stdout is not None
        assert one.stdout.readline() == "opened data:process performance_degradation\n"


def test_the_receiver_takes_what_is_signed_once(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "jobmon.toml").write_text(block("toml"))
    (hook,) = load(environ={}, cwd=tmp_path).webhooks
    program = PROGRAMS["# receiver.py"].replace("8080", str(free_port))
    url = f"http://127.0.0.1:{free_port}/"
    with running(sys.executable, "-c", program, stderr=subprocess.DEVNULL) as one:
        sink = WebhookSink(hook._replace(url=url), Outbound(allow_private=True))
        found = event()
        assert sink.wants(found)
        body = json.dumps(found.to_dict())
        until(lambda: _taken(sink, body))
        sink.deliver(found, body)
        forger = WebhookSink(hook._replace(url=url, secret="x" * 16), Outbound(allow_private=True))
        with pytest.raises(NotDeliveredError, match="answered 403"):
            forger.deliver(found, body)
        sink.deliver(found, json.dumps({**found.to_dict(), "id": "2", "summary": "another"}))
        assert one.stdout is not None
        assert one.stdout.readline() == f"opened {found.summary}\n"
        assert one.stdout.readline() == "opened another\n"


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _taken(sink: WebhookSink, body: str) -> bool:
    try:
        sink.deliver(event(), body)
    except NotDeliveredError:
        return False
    return True
