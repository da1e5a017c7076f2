"""``jobmon events`` as a process, and `jobmon.listen`: what they print and call, and do once."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import jobmon
from jobmon.publish import listener as module
from jobmon.publish.listener import BEGINNING, Listener
from jobmon.settings import load
from jobmon.store.events import Events
from tests.conftest import RedisServer
from tests.publish.outbox import event
from tests.serving import environment, until
from tests.syncing import COMMAND

pytestmark = pytest.mark.live

STREAM = "jobmon:anomalies:events"
HANDLERS = """
import json, os, time
import jobmon

def note(what, event):
    with open("noted", "a") as file:
        file.write(f"{what} {event.command_name} {os.getpid()}\\n")

@jobmon.on_anomaly
async def found(event):
    note("found", event)
    time.sleep(float(os.environ.get("SLOW", "0")))
    note("done", event)

@jobmon.on_anomaly
def failing(event):
    raise ValueError("no luck")

@jobmon.on_anomaly_resolved
def over(event):
    note("over", event)
"""


def add(store: RedisServer, *names: str, **more: Any) -> list[str]:
    """Events of these commands, as the publisher adds them; gives their ids."""
    settings = load({"redis.url": store.url}, environ={})
    with store.client() as client:
        made = [event(command_name=name, **more) for name in names]
        for one in made:
            assert Events(client, settings).add(one.id, json.dumps(one.to_dict()))
    return [one.id for one in made]


def noted(folder: Path) -> list[str]:
    """What handlers of the module have noted, without who did."""
    file = folder / "noted"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.rpartition(" ")[0] for line in lines]


class Listening:
    """One that runs, in a folder with a module of handlers."""

    def __init__(self, store: RedisServer, folder: Path, *options: str, **more: str) -> None:
        self.folder = folder
        (folder / "alerts.py").write_text(HANDLERS)
        self.process = subprocess.Popen(
            [*COMMAND, "events", *options],
            cwd=folder,
            env={**environment(REDIS_URL=store.url), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def noted(self) -> list[str]:
        return noted(self.folder)

    def ended(self, number: int | None = None) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def listening(store: RedisServer, folder: Path, *options: str, **more: str) -> Iterator[Listening]:
    one = Listening(store, folder, *options, **more)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def ended(store: RedisServer, folder: Path, *options: str, **more: str) -> tuple[int, str, str]:
    return Listening(store, folder, *options, **more).ended()


def consumers(store: RedisServer, group: str) -> int:
    with store.client() as client:
        groups: Any = client.xinfo_groups(STREAM) if client.exists(STREAM) else []
        return sum(one["consumers"] for one in groups if one["name"] == group.encode())


def waits(store: RedisServer, one: Listening) -> None:
    """Until it has asked for what comes."""
    with store.client() as client:
        known: Any = client
        until(lambda: any(c["cmd"].startswith("xread") for c in known.client_list()))
    assert one.process.poll() is None


def test_it_prints_what_is_there(store: RedisServer, folder: Path) -> None:
    assert ended(store, folder) == (0, "", "")
    add(store, "a")
    add(store, "nasty", summary="went \x1b[31mwrong\n", anomaly_severity="low")
    code, out, err = ended(store, folder)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.endswith(
        " 2026-11-30 03:00:00 opened HIGH performance_degradation the 55 jobs of data:process ran "
        "9.4 min in all; those of runs with about as many usually run 4.8–5.6 min"
    )
    assert second.endswith(r"opened LOW performance_degradation went \x1b[31mwrong\n")
    entry = first.partition(" ")[0]
    assert ended(store, folder, "--since", entry)[1].splitlines() == [second]
    assert ended(store, folder, "--since", "1h")[1].splitlines() == [first, second]
    time.sleep(1.1)
    assert ended(store, folder, "--since", "1s") == (0, "", "")


def test_json_is_a_document_a_line(store: RedisServer, folder: Path) -> None:
    ids = add(store, "a", "b\x1b")
    _, out, _ = ended(store, folder, "--format=json")
    documents = [json.loads(line) for line in out.splitlines()]
    assert [one["id"] for one in documents] == ids
    assert "\x1b" not in out
    entry = documents[0].pop("entry")
    assert (
        documents[0]
        == event(id=ids[0], anomaly_id=documents[0]["anomaly_id"], command_name="a").to_dict()
    )
    assert ended(store, folder, "--format=json", "--since", entry)[1].count("\n") == 1


def test_filters(store: RedisServer, folder: Path) -> None:
    add(store, "a", anomaly_severity="low")
    add(store, "a", anomaly_type="memory_growth")
    add(store, "b", anomaly_severity="critical")

    def count(*options: str) -> int:
        return len(ended(store, folder, *options)[1].splitlines())

    assert count("--command=a") == 2
    assert count("--command=a", "--command=b") == 3
    assert count("--min-severity=high") == 2
    assert count("--type=memory_growth") == 1
    assert count("--type=memory_growth", "--command=b") == 0


def test_what_is_no_event_is_passed_over(store: RedisServer, folder: Path) -> None:
    with store.client() as client:
        for fields in ({"x": "y"}, {"event": ""}, {"event": "[" * 100_000}, {"event": b"\xff"}):
            client.xadd(STREAM, fields)  # type: ignore[arg-type]
        client.xadd(STREAM, {"event": json.dumps({**event().to_dict(), "summary": 7})})
    add(store, "fine")
    code, out, err = ended(store, folder)
    assert (code, out.count("\n")) == (0, 1)
    assert err.count("is passed over") == 5


@pytest.mark.parametrize(
    "options",
    [
        *(["--since", "yesterday"], ["--since", "-1h"], ["--since", ""], ["--group", "a b"]),
        *(["--min-severity", "HIGH"], ["--import", "no_such_module"], ["--import", "json"]),
        *(["--once", "--follow"], ["--import", "broken"]),
    ],
)
def test_wrong_usage(store: RedisServer, folder: Path, options: list[str]) -> None:
    (folder / "broken.py").write_text("1 / 0")
    code, out, err = ended(store, folder, *options)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.startswith("jobmon events: ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_follows_until_a_signal(
    store: RedisServer, folder: Path, number: int, code: int
) -> None:
    add(store, "a")
    with listening(store, folder, "-f", "--format=json") as one:
        assert one.process.stdout is not None
        assert json.loads(one.process.stdout.readline())["command_name"] == "a"
        waits(store, one)
        add(store, "b")
        assert json.loads(one.process.stdout.readline())["command_name"] == "b"
        began = time.monotonic()
        assert one.ended(number) == (code, "", "")
        assert time.monotonic() - began < 5


def test_handlers_of_a_module_are_called_with_what_comes(store: RedisServer, folder: Path) -> None:
    add(store, "before")
    with listening(store, folder, "--import=alerts") as one:
        waits(store, one)
        add(store, "a")
        add(store, "b", state="resolved")
        until(lambda: "over b" in one.noted)
        code, out, err = one.ended(signal.SIGTERM)
    assert one.noted == ["found a", "done a", "over b"]
    assert (code, out.count("\n")) == (143, 2)
    assert "failing failed with event" in err
    assert "no luck" in err


def test_once_they_are_called_with_what_is_there(store: RedisServer, folder: Path) -> None:
    add(store, "a", "b")
    code, out, _ = ended(store, folder, "--import=alerts", "--once", "--command=b")
    assert (code, out.count("\n")) == (0, 1)
    assert noted(folder) == ["found b", "done b"]


def test_a_signal_waits_for_the_handlers(store: RedisServer, folder: Path) -> None:
    with listening(store, folder, "--import=alerts", "--group=g", SLOW="1") as one:
        until(lambda: consumers(store, "g") == 1)
        add(store, "a")
        until(lambda: one.noted == ["found a"])
        assert one.ended(signal.SIGTERM)[0] == 143
        assert one.noted == ["found a", "done a"]
    with store.client() as client:
        pending: Any = client.xpending(STREAM, "g")
        assert pending["pending"] == 0
    assert consumers(store, "g") == 0


def test_of_a_group_one_handles_each_event_also_over_restarts(
    store: RedisServer, folder: Path
) -> None:
    names = [f"data:{at}" for at in range(20)]
    options = ("--import=alerts", "--group=g")
    with listening(store, folder, *options) as one, listening(store, folder, *options) as two:
        until(lambda: consumers(store, "g") == 2)
        add(store, *names[:10])
        until(lambda: sum(line.startswith("done") for line in one.noted) == 10)
        one.ended(signal.SIGTERM)
        two.ended(signal.SIGTERM)
        add(store, *names[10:])  # while nobody listens
    with listening(store, folder, *options) as one:
        until(lambda: sum(line.startswith("done") for line in one.noted) == 20)
    assert sorted(line for line in one.noted if "done" in line) == sorted(
        f"done {n}" for n in names
    )


def test_what_a_killed_one_had_in_hand_another_handles(
    store: RedisServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(store, folder, "--import=alerts", "--group=g", SLOW="60") as one:
        until(lambda: consumers(store, "g") == 1)
        (first, second) = add(store, "a", "b")
        until(lambda: one.noted == ["found a"])
    monkeypatch.setattr(module, "_LEFT_MS", 200)
    monkeypatch.setattr(module, "_CLAIM_EVERY_SECONDS", 0.1)
    stop = threading.Event()
    settings = load({"redis.url": store.url}, environ={})
    with store.client() as client:
        heard = Listener(client, settings, group="g", stop=stop).events()
        found = {next(heard).event.id for _ in range(2)}
        assert found == {first, second}
        stop.set()
        assert list(heard) == []
        pending: Any = client.xpending(STREAM, "g")
        assert pending["pending"] == 0


def test_redis_that_goes_away_is_waited_for(own_redis_server: RedisServer, folder: Path) -> None:
    for options in (("-f", "--since=1h"), ("--import=alerts", "--group=g")):
        with listening(own_redis_server, folder, *options) as one:
            waits(own_redis_server, one)
            own_redis_server.stop()
            assert one.process.stderr is not None
            assert "Redis does not answer, waiting for it" in one.process.stderr.readline()
            own_redis_server.start()  # with nothing in it
            add(own_redis_server, "after")
            assert one.process.stdout is not None
            assert "jobs of data:process ran" in one.process.stdout.readline()
            code, _, err = one.ended(signal.SIGTERM)
            assert code == 143
            assert "Redis answers again" in err


def test_without_following_a_store_that_is_away_is_exit_69(folder: Path) -> None:
    process = subprocess.run(
        [*COMMAND, "events"],
        env=environment(REDIS_URL="redis://127.0.0.1:1/0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout) == (69, "")
    assert process.stderr.startswith("jobmon events: Redis cannot be reached: ")


def test_listen_gives_events_as_they_come(
    store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_MONITOR_REDIS_URL", store.url)
    stop, heard = threading.Event(), list[str]()
    add(store, "before")

    def work() -> None:
        heard.extend(one.command_name for one in jobmon.listen(stop=stop))

    thread = threading.Thread(target=work)
    thread.start()
    with store.client() as client:
        known: Any = client
        until(lambda: any(c["cmd"] == "xread" for c in known.client_list()))
    add(store, "a", "b")
    time.sleep(0.2)
    stop.set()
    thread.join(10)
    assert heard == ["a", "b"]
    with pytest.raises(ValueError, match="how long ago"):
        next(iter(jobmon.listen(since="yesterday")))


def test_an_event_whose_work_broke_off_is_not_done(store: RedisServer) -> None:
    settings = load({"redis.url": store.url}, environ={})
    add(store, "a", "b")
    with store.client() as client:
        known: Any = client
        heard = Listener(client, settings, group="g", since=BEGINNING).events()
        assert next(heard).event.command_name == "a"
        assert next(heard).event.command_name == "b"
        heard.close()
        assert known.xpending(STREAM, "g")["pending"] == 1
        assert consumers(store, "g") == 1  # its name stays for as long as it has something


def test_names_of_the_long_dead_are_forgotten(
    store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"redis.url": store.url}, environ={})
    monkeypatch.setattr(module, "_CONSUMER_DAY_MS", 50)
    with store.client() as client:
        known: Any = client
        known.xgroup_create(STREAM, "g", mkstream=True)
        known.xgroup_createconsumer(STREAM, "g", "dead")
        time.sleep(0.1)
        add(store, "a")
        assert list(Listener(client, settings, group="g").events(follow=False))
        assert consumers(store, "g") == 0


def test_it_loads_neither_database_nor_server() -> None:
    said = subprocess.run(
        [
            *(COMMAND[0], "-c"),
            "import sys, jobmon; jobmon.listen; import jobmon.cli.events\n"
            "heavy = 'sqlalchemy', 'numpy', 'scipy', 'starlette', 'httpcore', 'rich'\n"
            "print([name for name in heavy if name in sys.modules])",
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "[]\n"
