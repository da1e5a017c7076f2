"""Transitions for tests."""

from __future__ import annotations

from jobmon.model import Transition


def transition(number: int = 1, status: str = "processing", **changes: object) -> Transition:
    made = Transition(
        process_id="0c5a4c1e-7f1f-4d2a-9a51-2f6f0f3c1d11",
        command="data:process",
        manual=False,
        job_id=f"job-{number}",
        engine="celery",
        queue="default",
        job_name="tasks.add",
        status=status,
        outcome="",
        attempt=1,
        delivery=0,
        stages=2,
        at_ms=1_764_000_000_000 + number,
        execution_us=0,
        queue_time_us=1500,
        peak_memory_bytes=0,
        error_type="",
        body=b'"id":"1","name":"tasks.add"}',
    )
    return made._replace(**changes)  # type: ignore[arg-type]
