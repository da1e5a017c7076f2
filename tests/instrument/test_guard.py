"""What goes wrong in a hook stays in it; what others throw into it does not."""

from __future__ import annotations

import logging
import signal

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


def test_what_a_user_s_own_signal_handler_raises_passes() -> None:
    class OutOfTimeError(Exception):
        pass

    def out_of_time(*_: object) -> None:
        raise OutOfTimeError

    @guard.guarded
    def interrupted() -> None:
        signal.raise_signal(signal.SIGUSR1)

    @guard.guarded_else(lambda: None)
    def interrupted_too() -> None:
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, out_of_time)
    try:
        for hook in (interrupted, interrupted_too):
            with pytest.raises(OutOfTimeError):
                hook()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert guard.failures() == 0
    assert raising(OutOfTimeError()) is None


def test_a_logging_filter_that_raises_changes_nothing() -> None:
    def refuse(_: logging.LogRecord) -> bool:
        raise ValueError("the user's own")

    logger = logging.getLogger("jobmon")
    logger.addFilter(refuse)
    try:
        assert raising(ValueError()) is None
    finally:
        logger.removeFilter(refuse)
    assert guard.failures() == 1


def test_a_class_of_errors_without_a_module_is_swallowed() -> None:
    assert raising(type("Odd", (Exception,), {"__module__": None})()) is None  # type: ignore[arg-type]


def test_what_users_call_returns_something_usable_and_raises_what_it_is_told_to() -> None:
    @guard.guarded_else(lambda number: -number, ValueError)
    def doubled(number: int) -> int:
        if number == 1:
            raise KeyError
        if number == 2:
            raise ValueError
        return 2 * number

    assert (doubled(3), doubled(1)) == (6, -1)
    with pytest.raises(ValueError, match=r"^$"):
        doubled(2)
    assert guard.failures() == 1
