"""Who runs now, and what a message carries of it."""

from __future__ import annotations

import contextvars
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.instrument import context
from jobmon.instrument.context import Explicit, Frame, JobContext, published_from_here

RUN = "2f1c7d2e-6a0a-4a53-8f0f-0d2f6f0c8e11"
OTHER = "0b0f7c55-1df5-4a0e-8a52-5f5cbb0d6c2a"


@pytest.fixture
def entered() -> Iterator[Any]:
    """Enters frames, and leaves them all at the end."""
    tokens: list[tuple[Frame, Any]] = []

    def enter(frame: Frame) -> Frame:
        tokens.append((frame, context.enter(frame)))
        return frame

    yield enter
    for frame, token in reversed(tokens):
        context.leave(frame, token)


def job(job_id: str = "a", **fields: Any) -> JobContext:
    return JobContext(job_id, RUN, "data:process", **fields)


moments = st.floats(0, 4e9, allow_nan=False).map(lambda at: round(at, 6))


@given(
    st.builds(
        JobContext,
        job_id=st.text(min_size=1, max_size=40),
        process_id=st.uuids().map(str),
        command=st.text(min_size=1, max_size=60),
        manual=st.booleans(),
        attempt=st.integers(1, 10**6),
        queue=st.text(max_size=40),
        created_at=moments,
        enqueued_at=moments,
        eta=moments,
        parent_id=st.text(max_size=40),
        root_id=st.text(max_size=40),
        job_type=st.text(max_size=40),
        creation=st.text(max_size=55),
        command_span=st.text(max_size=55),
        command_started_at=moments,
        hop=st.integers(0, 1000),
        retry_of=st.text(max_size=55),
        job_name=st.text(max_size=40),
    )
)
def test_what_is_written_is_read_again(written: JobContext) -> None:
    assert JobContext.decode(written.encode()) == written
    assert JobContext.decode(written.encode().encode("utf-8", "surrogatepass")) is not None


@pytest.mark.parametrize(
    "text",
    [
        *(None, 7, "", "{", "[]", "null", '{"v":2,"i":"a","p":"b","c":"d"}', '{"v":1,"i":"a"}'),
        *('{"v":1,"i":"a","p":"b","c":"d","a":"x"}', "x" * 5000, b"\xff\xfe"),
        *('{"v":1,"i":"a","p":"b","c":"d","e":NaN}', '{"v":1,"i":"a","p":"b","c":"d","e":1e999}'),
        '{"v":1,"i":"a","p":"b","c":"d"}trailing',
    ],
)
def test_a_damaged_or_foreign_header_is_no_context(text: object) -> None:
    assert JobContext.decode(text) is None


def test_outside_of_everything_a_job_is_its_own_tree() -> None:
    own = published_from_here(RUN.upper(), "default")
    assert (own.process_id, own.command, own.manual) == (RUN, "manual-dispatch", True)
    assert (own.attempt, own.root_id, own.parent_id) == (1, RUN.upper(), "")
    named = published_from_here("nightly", "default")
    assert uuid.UUID(named.process_id).version == 4


def test_inside_a_command_a_job_belongs_to_it(entered: Any) -> None:
    entered(Frame(RUN, "data:process", started_at=5.0))
    own = published_from_here("a", "default", eta=9.0)
    assert (own.process_id, own.command, own.manual) == (RUN, "data:process", False)
    assert (own.command_started_at, own.hop, own.eta, own.queue) == (5.0, 0, 9.0, "default")


def test_inside_a_job_the_run_is_inherited_and_the_parent_named(entered: Any) -> None:
    entered(Frame(RUN, "data:process", job=job("a", root_id="r", hop=3)))
    own = published_from_here("b", "default")
    assert (own.process_id, own.parent_id, own.root_id, own.hop) == (RUN, "a", "r", 4)


def test_a_further_publish_keeps_run_and_creation_and_is_the_next_attempt(entered: Any) -> None:
    entered(Frame(OTHER, "another"))
    first = job(created_at=1.0, enqueued_at=1.0, creation="00-aa", queue="slow", job_type="t")
    again = published_from_here("a", "", previous=first)
    assert (again.attempt, again.process_id, again.created_at) == (2, RUN, 1.0)
    assert (again.creation, again.queue, again.job_type) == ("00-aa", "slow", "t")
    assert again.enqueued_at > 1.0


def test_what_was_said_wins_over_the_context(entered: Any) -> None:
    entered(Frame(RUN, "data:process", started_at=5.0, job=job("a")))
    token = context.explicit.set(Explicit(OTHER, "data:other", "import", 7.0))
    try:
        own = published_from_here("b", "default")
    finally:
        context.explicit.reset(token)
    assert (own.process_id, own.command, own.manual) == (OTHER, "data:other", False)
    assert (own.job_type, own.created_at) == ("import", 7.0)
    assert (own.parent_id, own.command_started_at, own.hop) == ("a", 0.0, 0)


def test_a_thread_belongs_to_the_only_open_job_then_to_the_only_open_run(entered: Any) -> None:
    seen: list[Frame | None] = []

    def look() -> None:
        thread = threading.Thread(target=lambda: seen.append(context.current()))
        thread.start()
        thread.join()

    run = entered(Frame(RUN, "data:process"))
    look()
    running = entered(Frame(RUN, "data:process", job=job("a")))
    look()
    entered(Frame(RUN, "data:process", job=job("b")))
    look()
    assert seen == [run, running, None]


def test_of_two_open_runs_a_thread_belongs_to_neither(entered: Any) -> None:
    entered(Frame(RUN, "data:process"))
    entered(Frame(OTHER, "data:process"))
    assert contextvars.Context().run(context.current) is None


def test_an_end_seen_in_another_context_closes_the_frame() -> None:
    frame = Frame(RUN, "data:process")
    token = contextvars.copy_context().run(context.enter, frame)
    assert context.current() is frame
    context.leave(frame, token)
    assert context.current() is None


def test_a_child_of_jobmon_run_belongs_to_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_inherited_read", False)
    monkeypatch.setattr(context, "_inherited", None)
    monkeypatch.setenv(context.PROCESS_ID_VARIABLE, RUN.upper())
    monkeypatch.setenv(context.COMMAND_VARIABLE, "data:process")
    monkeypatch.setenv(context.STARTED_AT_VARIABLE, "1764000000.5")
    own = published_from_here("a", "default")
    assert (own.process_id, own.command, own.manual) == (RUN, "data:process", False)
    assert own.command_started_at == 1764000000.5


@pytest.mark.parametrize("damaged", ["nope", "", "00000000000000000000000000000000"])
def test_a_damaged_run_id_in_the_environment_is_none(
    monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    monkeypatch.setattr(context, "_inherited_read", False)
    monkeypatch.setattr(context, "_inherited", None)
    monkeypatch.setenv(context.PROCESS_ID_VARIABLE, damaged)
    assert context.current() is None
