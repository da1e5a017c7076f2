"""Families of workers."""

from __future__ import annotations

import json
from typing import Any

from jobmon.model import Beat
from jobmon.store import connection
from jobmon.store.beats import Beats
from tests.metrics.conftest import Sampled
from tests.serving import Recorded

LONG = "x" * 300


def tell(recorded: Recorded, own_id: str, **said: Any) -> None:
    about = {"engine": "rq", "hostname": "h", "version": "3", "queues": [], "slots": 1, "busy": 0}
    beat = Beat("worker", own_id, body=json.dumps(about | said).encode())
    with connection.connect(recorded.settings) as client:
        assert Beats(client, recorded.settings).send([beat]).taken == 1


def test_what_a_worker_says_of_itself_is_cut(recorded: Recorded, sampled: Sampled) -> None:
    said = {"hostname": 'the "host"\n', "version": LONG, "queues": ["a\nb", LONG]}
    tell(recorded, "one", name=f"a\n{LONG}", **said)
    name = f"a{LONG}"[:128]
    labels = {"hostname": 'the "host"', "version": LONG[:128], "queues": f"ab,{LONG}"[:128]}
    assert sampled("jobmon_worker_info", engine="rq", worker=name, **labels) == 1
    assert sampled("jobmon_worker_up", engine="rq", worker=name) == 1


def test_workers_whose_names_are_the_same_once_cut_share_a_series(
    recorded: Recorded, sampled: Sampled
) -> None:
    tell(recorded, "one", name=f"{LONG}-one")
    tell(recorded, "two", name=f"{LONG}-two")
    assert sampled("jobmon_worker_slots", engine="rq", worker=LONG[:128]) == 2
