"""Questions to what may hang."""

from __future__ import annotations

import asyncio
import threading

import pytest

from jobmon.server import checks
from jobmon.server.checks import Question


def test_callers_at_once_share_one_answer() -> None:
    asked: list[int] = []

    async def ask() -> list[int | None]:
        question = Question(lambda: asked.append(1) or len(asked), 5.0)
        return list(await asyncio.gather(*(question.answer() for _ in range(10))))

    assert asyncio.run(ask()) == [1] * 10


def test_one_that_hangs_has_no_answer_and_is_not_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "CACHE_SECONDS", 0.0)
    free = threading.Event()
    asked: list[str] = []

    def hang() -> str:
        asked.append(threading.current_thread().name)
        free.wait()
        return "well"

    async def ask() -> None:
        question = Question(hang, 0.05)
        for _ in range(3):
            assert await question.answer() is None
        free.set()
        while await question.answer() is None:
            pass

    asyncio.run(ask())
    assert 1 <= len(asked) <= 2  # the second, if at all, once the first was free


def test_what_it_raises_its_caller_gets() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(Question(fail, 5.0).answer())


def test_one_that_answers_after_the_loop_has_ended_disturbs_nobody() -> None:
    free, over = threading.Event(), threading.Event()

    def hang() -> None:
        free.wait()
        over.set()

    assert asyncio.run(Question(hang, 0.01).answer()) is None
    free.set()
    assert over.wait(10)
