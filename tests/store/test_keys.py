"""One table of keys: the docs page, the names and what the script writes follow it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobmon.model import RANK, Beat, Outcome, Status
from jobmon.settings import Settings
from jobmon.store import writer
from jobmon.store.beats import Beats
from jobmon.store.keys import TABLE, Keys, encode_command, reference
from jobmon.store.writer import Writer
from tests.store.histories import run_transition, transition
from tests.store.reference import snapshot

if TYPE_CHECKING:
    from tests.conftest import RedisServer

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "redis-keys.md"
KINDS = {dict: "hash", bytes: "string", set: "set"}

TRACED = b'"trace_id":"%s","span_id":"%s","v":1}' % (b"1" * 32, b"2" * 16)


def test_the_page_of_the_documentation_is_made_from_the_table() -> None:
    assert PAGE.read_text() == reference(), "python -m jobmon.store.keys > " + str(PAGE)
    printed = subprocess.run(
        [sys.executable, "-m", "jobmon.store.keys"], capture_output=True, check=True, text=True
    )
    assert printed.stdout == reference()


def test_every_key_that_is_written_is_in_the_table(store: RedisServer) -> None:
    settings = Settings()
    patterns = {
        re.compile(re.sub(r"<\w+>", "[^/]+", re.escape(key.name).replace(r"\<", "<"))): key
        for key in TABLE
    }
    unused = {key.name for key in TABLE}
    with store.client() as client:
        Writer(client, settings).apply(
            [
                run_transition("p1", "running"),
                run_transition("p2", "running"),
                transition("p1", "a", Status.PENDING),
                transition("p1", "b", Status.PROCESSING),
                transition("p1", "e", Status.COMPLETED)._replace(stages=4, body=TRACED),
                transition("p1", "c", Status.FAILED, message=b"replay", error_type="KeyError"),
                transition("p1", "d", Status.RETRYING),
                transition("p1", "d", Status.COMPLETED, 2),
                run_transition("p1", "completed"),
                run_transition("p2", "completed"),
                transition("m", "m", Status.RETRYING),
                transition("m", "m", Status.COMPLETED, 2),
                transition("m", "n", Status.COMPLETED),
            ]
        )
        Writer(client, settings).apply([run_transition("p1", "running")._replace(process_id="p3")])
        Beats(client, settings).send(
            [
                Beat("worker", "w", body=b"{}"),
                Beat("scheduler", "s", body=b"{}"),
                Beat("schedule", "s\x1fe", body=b"{}"),
                Beat("run", "p3"),
                Beat("job", "celery\x1fq\x1fn"),
            ]
        )
        found = snapshot(client)
        kinds = {name: client.type(name).decode() for name in found}
    for name in found:
        assert name.startswith("jobmon:")
        matching = [
            key
            for pattern, key in patterns.items()
            if pattern.fullmatch(name.removeprefix("jobmon:"))
        ]
        assert matching, f"{name} is not in the table"
        kind = {"zset": "sorted set"}.get(kinds[name], kinds[name])
        assert kind in {key.type for key in matching}
        unused -= {key.name for key in matching if key.type == kind}
    of_servers = {"workers:lost", "lease:<name>", "synced", "dead-letters", "totals:sync"}
    of_servers |= {
        "anomalies:added",
        "anomalies:events",
        "queues:depth:<engine>",
        "queues:polled:<engine>",
        "anomalies:shown",
        "bounds:commands",
        "bounds:queues",
        "bounds:queue-samples",
        "rate:<kind>:<who>",
        "retries:pushing:<token>",
        "retries:claims",
        "retries:open",
        "retries:of:<processId>",
        "totals:analysis",
        "totals:deliveries",
    }
    assert unused == of_servers


def test_braces_and_percent_signs_are_encoded_in_keys_only() -> None:
    keys = Keys("jobmon:")
    assert encode_command("a{b}%c") == "a%7Bb%7D%25c"
    assert encode_command("a%7Bb") != encode_command("a{b")
    assert keys.newest_run("a{b") == "jobmon:command-pid-map:a%7Bb"
    assert keys.of("p").metrics("data:process") == "jobmon:command:metrics:data:process:p"


def test_the_prefix_is_before_every_key() -> None:
    keys = Keys("x/")
    own = keys.of("p")
    names = [value for value in vars(keys).values() if value != "x/"]
    names += [own.jobs, own.attempts, own.unsynced, own.manual, own.metrics("c"), keys.job("j")]
    names += [keys.newest_run("c"), keys.message("j"), keys.pending(1), keys.processing(1)]
    names += [keys.rate("api", "ann"), keys.queue_depth("rq"), keys.queue_polled("rq")]
    assert all(name.startswith("x/") for name in names)


def test_the_script_knows_the_words_of_the_model() -> None:
    def words(name: str) -> list[str]:
        found = re.search(rf"local {name} = {{(.*?)}}", writer._SCRIPT.text, re.DOTALL)
        assert found is not None
        return re.findall(r"'(\w+)'", found[1])

    assert words("STATUSES") == [str(one) for one in sorted(RANK, key=lambda s: RANK[s])]
    assert words("OUTCOMES") == [str(one) for one in Outcome]
