"""What is answered where a failed job cannot be run again or deleted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.retry.failing import failure
from tests.serving import PREFIX, Recorded, Run, Served, until

pytestmark = pytest.mark.live


def sent(served: Served, verb: str, path: str) -> tuple[int, Any]:
    answer = served.client.request(verb, f"{PREFIX}/{path}")
    return answer.status_code, answer.json()


def failed(served: Served, recorded: Recorded, **more: Any) -> tuple[Run, str]:
    """A job that is in the table."""
    before = served.data("stats")["total_failed"]
    run, job_id = recorded.run(), str(uuid.uuid4())
    recorded.write(failure(run, job_id, **more))
    until(lambda: served.data("stats")["total_failed"] == before + 1)
    return run, job_id


@pytest.mark.parametrize(("verb", "path"), [("POST", "/retry"), ("DELETE", "")])
@pytest.mark.parametrize("given", ["1000", "9" * 30, "no-such-job", "a%20b", "x" * 256, "%00", "é"])
def test_an_id_of_no_failed_job_is_not_found(
    served: Served, verb: str, path: str, given: str
) -> None:
    status, body = sent(served, verb, f"jobs/failed/{given}{path}")
    word = "retry" if path else "delete"
    assert (status, body["status"]) == (404, "error")
    assert body["message"].startswith(f"Could not {word} job [")
    assert body["message"].endswith("]. It may no longer exist.")


def test_without_a_setting_it_is_named(served: Served, recorded: Recorded) -> None:
    _, job_id = failed(served, recorded)
    assert sent(served, "POST", f"jobs/failed/{job_id}/retry") == (
        409,
        {
            "status": "error",
            "message": f"Could not retry job [{job_id}]. Where Celery's broker is has not been "
            "set: set celery.broker_url.",
        },
    )


def test_without_its_message_a_job_cannot_be_run_again(served: Served, recorded: Recorded) -> None:
    _, job_id = failed(served, recorded, message=lambda *_: b"")
    assert sent(served, "POST", f"jobs/failed/{job_id}/retry") == (
        409,
        {
            "status": "error",
            "message": f"Could not retry job [{job_id}]. Its arguments were not stored.",
        },
    )


def test_a_run_whose_jobs_have_no_queue_that_is_known_is_refused(
    served: Served, recorded: Recorded
) -> None:
    run, _ = failed(served, recorded)
    status, body = sent(served, "POST", f"commands/{run.id}/retry-failed")
    assert (status, body["status"]) == (409, "error")
    assert body["message"].endswith("set celery.broker_url.")
    assert sent(served, "GET", f"commands/{run.id}/retry-failed")[0] == 404


def test_of_a_request_it_is_told_how_far_it_is(served: Served, recorded: Recorded) -> None:
    run, job_id = failed(served, recorded, engine="rq")
    path = f"commands/{run.id}/retry-failed"
    assert sent(served, "GET", path)[0] == 404
    assert sent(served, "POST", path)[0] == 200
    until(lambda: sent(served, "GET", path)[1]["data"]["finished_at"] is not None, 30)
    found = sent(served, "GET", path)[1]["data"]
    assert found.pop("requested_at") <= found.pop("finished_at")
    assert found == {
        "requested": 1,
        "pushed": 0,
        "refused": 1,
        "remaining": 0,
        "error": found["error"],
    }
    assert found["error"].endswith("set rq.redis_url.")
    assert sent(served, "POST", f"commands/{job_id[:8]}/retry-failed")[0] == 404


@pytest.mark.parametrize(("engine", "can_be_retried"), [("celery", False), ("rq", True)])
def test_a_job_can_be_retried_where_its_engines_queue_is_known(
    served: Served, recorded: Recorded, engine: str, can_be_retried: bool
) -> None:
    _, job_id = failed(served, recorded, engine=engine)
    assert served.data(f"jobs/{job_id}")["can_be_retried"] is can_be_retried


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("jobs/failed/1/retry", "POST"),
        ("jobs/failed/1", "DELETE"),
        ("commands/71c4d9a2-5f0e-4a5c-9d3e-0a1b2c3d4e5f/retry-failed", "GET, HEAD, POST"),
    ],
)
def test_other_methods_are_not_allowed(served: Served, path: str, allow: str) -> None:
    answer = served.client.put(f"{PREFIX}/{path}")
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
