"""``jobmon sync`` as a process: what it says, how it ends, what it leaves."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobmon.cli.main import main
from jobmon.model import Outcome
from jobmon.store.keys import SYNC
from jobmon.store.lease import Lease
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.history.copied import copies
from tests.proxy import Proxy
from tests.serving import Recorded, environment, until
from tests.syncing import COMMAND, PORTS, begun, contents, ended, started

pytestmark = pytest.mark.live


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    with made("sqlite", tmp_path) as one:
        yield one


def fill(recorded: Recorded, runs: int = 2, jobs: int = 3) -> None:
    for at in range(runs):
        run = recorded.run(f"data:{at}")
        run.jobs(jobs, Outcome.COMPLETED)
        run.jobs(1, Outcome.FAILED)
        run.end()


def test_it_says_what_it_copied(recorded: Recorded, store: RedisServer, sqlite: Database) -> None:
    fill(recorded)
    said = ended(store, sqlite.url)
    assert (said.returncode, said.stderr) == (0, "")
    first, second = said.stdout.splitlines()
    assert first.startswith("Synced 2 runs, 8 jobs, 2 failed jobs in ")
    assert first.endswith(" s (batch 500).")
    assert second == "Skipped 0, errors 0. Cleanup: 0 records removed."
    again = ended(store, sqlite.url, verb="metrics:sync")
    assert again.stdout.startswith("Synced 0 runs, 0 jobs, 0 failed jobs in ")
    assert again.returncode == 0


def test_json_is_one_document(recorded: Recorded, store: RedisServer, sqlite: Database) -> None:
    fill(recorded, runs=1)
    dry = ended(store, sqlite.url, "--dry-run", "--format", "json")
    done = ended(store, sqlite.url, "--format=json")
    off = ended(store, sqlite.url, "--format=json", SYNC_ENABLED="0")
    documents = [json.loads(one.stdout) for one in (dry, done, off)]
    expected = {"runs": 1, "jobs": 4, "failed_jobs": 1, "skipped": 0, "errors": [], "cleaned": 0}
    for document, dry_run in zip(documents[:2], (True, False), strict=True):
        assert document.pop("seconds") > 0
        assert document == {**expected, "dry_run": dry_run, "stopped": ""}
    assert (documents[2]["runs"], documents[2]["stopped"]) == (0, "sync.enabled is false")


def test_a_dry_run_counts_and_writes_nothing_anywhere(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    fill(recorded)
    with store.client() as client:
        client.zadd("jobmon:failures", {"none": 1})
        client.zadd("jobmon:unsynced", {"none": 1})
    before, database = contents(store), tmp_path / "none.db"
    said = ended(store, f"sqlite:///{database}", "--dry-run", "--cleanup")
    assert said.stdout == "Would sync 2 runs, 8 jobs, 2 failed jobs.\n"
    assert said.returncode == 1  # one mark is of nothing that could be copied
    assert not database.exists()
    assert contents(store) == before


def test_disabled_it_does_nothing_unless_forced(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    fill(recorded)
    before, database = contents(store), tmp_path / "none.db"
    said = ended(store, f"sqlite:///{database}", SYNC_ENABLED="false")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr == "Sync is disabled (sync.enabled=false). Use --force to run it anyway.\n"
    assert not database.exists()
    assert contents(store) == before
    forced = ended(store, f"sqlite:///{database}", "--force", SYNC_ENABLED="false")
    assert forced.stdout.startswith("Synced 2 runs, 8 jobs, ")


@pytest.mark.parametrize("size", ["0", "10001", "x", "1.5", "-1", "٣", ""])
def test_a_batch_size_out_of_bounds_is_wrong_usage(
    store: RedisServer, sqlite: Database, size: str
) -> None:
    said = ended(store, sqlite.url, f"--batch-size={size}")
    assert (said.returncode, said.stdout) == (2, "")
    assert "expected a whole number from 1 to 10000" in said.stderr


def test_a_lease_held_elsewhere_is_waited_for_with_force_alone(
    recorded: Recorded, store: RedisServer, sqlite: Database
) -> None:
    fill(recorded, runs=1)
    lease = Lease(recorded.client(), recorded.settings, SYNC, seconds=600)
    token = lease.acquire()
    assert token is not None
    said = ended(store, sqlite.url)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "Another sync is running.\n")
    waiting = started(store, sqlite.url, "--force")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(3)
    lease.release(token)
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, err) == (0, "")
    assert out.startswith("Synced 1 run, 4 jobs, 1 failed job in ")


def test_with_force_too_the_wait_ends(
    recorded: Recorded,
    store: RedisServer,
    sqlite: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Lease(recorded.client(), recorded.settings, SYNC, seconds=600).acquire()
    monkeypatch.setattr("jobmon.cli.sync._LONGEST_WAIT_SECONDS", 0.5)
    monkeypatch.setenv("JOB_MONITOR_REDIS_URL", store.url)
    monkeypatch.setenv("JOB_MONITOR_DATABASE_URL", sqlite.url)
    assert main(["sync", "--force"]) == 75
    assert capsys.readouterr() == ("", "Another sync is running.\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_its_batch(
    recorded: Recorded, store: RedisServer, sqlite: Database, number: int, code: int
) -> None:
    run = recorded.run()
    for _ in range(20):
        run.jobs(10, Outcome.COMPLETED)
    with copies(store, sqlite) as history:
        process = started(store, sqlite.url, "--batch-size=10", SYNC_CHUNK_DELAY_MS="60000")
        until(lambda: len(history.rows("job_metrics")) > 0)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == code
        assert out.startswith("Synced 0 runs, 10 jobs, ")
        assert err == "Stopped early: it was asked to stop. The next sync goes on from there.\n"
        assert len(history.rows("job_metrics")) == 10
        assert history.client.keys("jobmon:lease:*") == []
        said = ended(store, sqlite.url)
        assert said.stdout.startswith("Synced 1 run, 190 jobs, ")


def test_a_signal_ends_the_wait_for_a_lease(
    recorded: Recorded, store: RedisServer, sqlite: Database
) -> None:
    assert Lease(recorded.client(), recorded.settings, SYNC, seconds=600).acquire()
    process = started(store, sqlite.url, "--force")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    process.communicate()


def test_progress_is_shown_on_a_terminal_alone(
    recorded: Recorded, store: RedisServer, sqlite: Database
) -> None:
    fill(recorded, runs=5)
    given = {"REDIS_URL": store.url, "DATABASE_URL": sqlite.url}
    env = {**environment(**given), "TERM": "xterm", "FORCE_COLOR": "1"}
    theirs, ours = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "sync", "--batch-size=1"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=ours,
        check=True,
    )
    os.close(ours)
    shown = b""
    try:
        while part := os.read(theirs, 65536):
            shown += part
    except OSError:  # the end of a terminal
        pass
    os.close(theirs)
    assert b"Syncing" in shown
    assert b"5/5" in shown
    assert b"\x1b" not in done.stdout
    fill(recorded)
    piped = subprocess.run([*COMMAND, "sync"], env=env, capture_output=True, check=True)
    assert piped.stderr == b""


def test_what_cannot_be_copied_is_exit_1_and_a_dead_letter(
    recorded: Recorded, store: RedisServer, sqlite: Database
) -> None:
    run = recorded.run("nasty\x1b[31m")
    (job_id, *_) = run.jobs(3, Outcome.COMPLETED)
    with store.client() as client:
        client.hset(f"jobmon:command:{run.id}:jobs", job_id, b'{"status":"\x1b[2J"}')
    said = ended(store, sqlite.url)
    assert said.returncode == 1
    assert "Skipped 1, errors 0." in said.stdout
    listed = ended(store, sqlite.url, "--dead-letters", verb="doctor")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert run.id in listed.stdout
    assert job_id in listed.stdout
    assert "\x1b" not in listed.stdout
    (letter,) = json.loads(
        ended(store, sqlite.url, "--dead-letters", "--format=json", verb="doctor").stdout
    )
    assert (letter["process_id"], letter["job_id"]) == (run.id, job_id)
    assert letter["record"] == '{"status":"\x1b[2J"}'
    requeued = ended(store, sqlite.url, "--dead-letters", "--requeue", "5", verb="doctor")
    assert requeued.stdout == "Requeued 1 for the next sync; 0 had expired.\n"
    empty = ended(store, sqlite.url, "--dead-letters", verb="doctor")
    assert empty.stdout == "There are no dead letters.\n"
    assert ended(store, sqlite.url).returncode == 1
    with store.client() as client:
        client.delete(f"jobmon:command:{run.id}:jobs")
    gone = ended(store, sqlite.url, "--requeue", "--format=json", verb="doctor")
    assert json.loads(gone.stdout) == {"requeued": 0, "gone": 2}  # of the job, of its failure
    assert ended(store, sqlite.url, "--requeue=0", verb="doctor").returncode == 2


class TestAway:
    """A database, or a store, that does not answer."""

    def test_a_store_that_is_away_is_exit_69(self, sqlite: Database, tmp_path: Path) -> None:
        process = subprocess.run(
            [*COMMAND, "sync"],
            env=environment(REDIS_URL="redis://127.0.0.1:1/0", DATABASE_URL=sqlite.url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == 69
        assert process.stderr.startswith("jobmon sync: Redis cannot be reached: ")

    @pytest.mark.parametrize("own_database", ["postgresql", "mysql"], indirect=True)
    @pytest.mark.parametrize("batch", [10, 100])
    def test_a_database_that_is_back_in_time_is_no_trouble(
        self, recorded: Recorded, store: RedisServer, own_database: Database, batch: int
    ) -> None:
        run = recorded.run()
        for _ in range(20):
            run.jobs(10, Outcome.COMPLETED)
        proxy = Proxy(own_database.url, PORTS[own_database.kind])
        try:
            with copies(store, own_database) as history:
                process = begun(store, history, proxy, batch)
                proxy.close()
                until(lambda: "tried again in" in process.stderr.readline())
                proxy = Proxy(own_database.url, PORTS[own_database.kind], proxy_port(proxy))
                out, _ = process.communicate(timeout=90)
                assert process.returncode == 0
                assert out.startswith("Synced 1 run, 200 jobs, ")
                assert len(history.rows("job_metrics")) == 200
        finally:
            proxy.close()

    @pytest.mark.parametrize("own_database", ["postgresql", "mysql"], indirect=True)
    def test_a_signal_ends_the_wait_for_a_database(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        run = recorded.run()
        for _ in range(20):
            run.jobs(10, Outcome.COMPLETED)
        proxy = Proxy(own_database.url, PORTS[own_database.kind])
        try:
            with copies(store, own_database) as history:
                process = begun(store, history, proxy)
                proxy.close()
                assert process.stderr is not None
                until(lambda: "tried again in" in process.stderr.readline())
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=30)
                assert process.returncode == 143
                assert err.startswith("Stopped early: the database did not take ")
                assert history.client.keys("jobmon:lease:*") == []
        finally:
            proxy.close()

    def test_a_database_that_was_never_there_is_exit_69(
        self, recorded: Recorded, store: RedisServer
    ) -> None:
        for kind in ("postgresql", "mysql"):
            said = ended(store, f"{kind}://u:hidden@127.0.0.1:9/d")
            assert (said.returncode, said.stdout) == (69, "")
            assert "hidden" not in said.stderr
            assert said.stderr.count("\n") == 1


def proxy_port(proxy: Proxy) -> int:
    return int(proxy.url.rpartition(":")[2].partition("/")[0])
