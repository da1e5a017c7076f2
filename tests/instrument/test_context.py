"""What a message carries survives the way, and nothing else is taken for it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.instrument import context
from jobmon.instrument.context import Frame, JobContext

JOB = "71c40000-0000-4000-8000-000000000001"
RUN = "71c40000-0000-4000-8000-000000000002"
PLAIN = JobContext(JOB, RUN, "data:process", queue="celery", created_at=1_764_000_000.5)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moments = st.integers(0, 4_000_000_000_000_000).map(lambda us: round(us / 1_000_000, 6))


@given(
    st.builds(
        JobContext,
        job_id=words,
        process_id=words,
        command=words,
        manual=st.booleans(),
        attempt=st.integers(1, 10**6),
        queue=words,
        created_at=moments,
        enqueued_at=moments,
        eta=moments,
        parent_id=words,
        root_id=words,
        job_type=words,
        creation=words,
        command_span=words,
        trace_started_at=moments,
        hop=st.integers(0, 10**6),
        retry_of=words,
        job_name=words,
    )
)
def test_a_header_comes_out_as_it_went_in(own: JobContext) -> None:
    text = own.encode()
    assert text.isascii()
    assert JobContext.decode(text) == JobContext.decode(text.encode()) == own


def test_a_header_needs_no_escape_inside_a_json_message() -> None:
    assert json.dumps(PLAIN.encode()) == f'"{PLAIN.encode()}"'
    assert len(PLAIN.encode()) < 250


def test_half_a_surrogate_does_no_harm() -> None:
    damaged = JobContext.decode(JobContext(JOB, RUN, "data\ud800").encode())
    assert damaged is not None
    assert damaged.command == "data?"


def test_fields_that_a_later_version_adds_are_left_out() -> None:
    assert JobContext.decode(PLAIN.encode() + "|more|still more") == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        {},
        "",
        "1",
        b"\xff\xfe",
        "x" * 5000,
        PLAIN.encode().replace("1|", "2|", 1),
        PLAIN.encode().rpartition("|")[0],
        PLAIN.encode().replace("1764000000.500000", "nan"),
        PLAIN.encode().replace("1764000000.500000", "inf"),
        PLAIN.encode().replace("1764000000.500000", "-1"),
        PLAIN.encode().replace("1764000000.500000", "yesterday"),
        PLAIN.encode().replace("|0|1|", "|0|0|"),
    ],
)
def test_what_is_no_header_is_none(text: object) -> None:
    assert JobContext.decode(text) is None


def test_a_thread_belongs_to_the_innermost_of_jobs_that_run_inside_each_other() -> None:
    outer = Frame(RUN, "data:process", job=PLAIN)
    inner = Frame(RUN, "data:process", job=PLAIN, within=outer)
    other = Frame(RUN, "data:process", job=PLAIN)
    tokens = [(frame, context.enter(frame)) for frame in (outer, inner)]
    try:
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(context.current).result() is inner
            tokens.append((other, context.enter(other)))
            assert threads.submit(context.current).result() is None
    finally:
        for frame, token in reversed(tokens):
            context.leave(frame, token)


@given(by=words, at=moments.filter(bool), stands_for=words, queue=words)
def test_a_retry_by_a_person_is_told_and_takes_nothing_from_other_headers(
    by: str, at: float, stands_for: str, queue: str
) -> None:
    plain = replace(PLAIN, queue=queue)
    own = replace(plain, retried_by=by, retried_at=at, stands_for=stands_for)
    assert JobContext.decode(own.encode()) == own
    # A worker with an older jobmon reads what comes first, and knows nothing of the rest.
    assert plain.encode().count("|") == 19
    assert own.encode().count("|") == 22


def test_the_engines_own_next_attempt_still_says_who_asked_last() -> None:
    own = replace(PLAIN, retried_by="ann", retried_at=1.5)
    following = context.published_from_here(JOB, "celery", previous=own)
    assert (following.attempt, following.retried_by) == (2, "ann")
