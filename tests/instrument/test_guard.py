"""What goes wrong in a hook stays in it; what others throw into it does not."""

from __future__ import annotations

import logging

import pytest

from jobmon.instrument import guard


class TimeLimitError(Exception):
    """Stands for what an engine's signal handler raises into running code."""


class OwnError(BaseException):
    """Not even an Exception."""


@guard.guarded
def raising(error: BaseException) -> str:
    raise error


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_thrown_in", guard._thrown_in)
    monkeypatch.setattr(guard, "_failures", 0)
    monkeypatch.setattr(guard, "_last_logged", float("-inf"))


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), OwnError(), RecursionError()])
def test_an_error_of_ours_is_swallowed_and_counted(error: BaseException) -> None:
    assert raising(error) is None
    assert guard.failures() == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_ends_a_process_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        raising(error)
    assert guard.failures() == 0


def test_what_an_engine_throws_in_passes_once_it_is_named() -> None:
    assert raising(TimeLimitError()) is None
    guard.let_through(TimeLimitError)
    guard.let_through(TimeLimitError)
    with pytest.raises(TimeLimitError):
        raising(TimeLimitError())


def test_a_greenlet_is_killed_through_a_hook() -> None:
    killed = type("GreenletExit", (BaseException,), {"__module__": "greenlet"})
    with pytest.raises(killed):
        raising(killed())


def test_one_log_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "jobmon"):
        for _ in range(5):
            raising(ValueError("x"))
    assert len(caplog.records) == 1
    assert "raising failed" in caplog.text


def test_a_hook_that_works_returns_its_value() -> None:
    @guard.guarded
    def fine(value: int) -> int:
        return value + 1

    assert fine(1) == 2
    assert fine.__name__ == "fine"
