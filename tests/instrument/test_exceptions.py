"""What a record keeps of an error."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from jobmon.instrument.exceptions import MAX_BYTES, describe, qualified_name
from jobmon.settings import Settings, load

SETTINGS = load(environ={})


def settings(**overrides: object) -> Settings:
    return load({key.replace("__", "."): value for key, value in overrides.items()}, environ={})


def raised(depth: int = 6, error: BaseException | None = None) -> BaseException:
    def fall(left: int) -> None:
        if left:
            fall(left - 1)
        raise error or ValueError("boom")

    try:
        fall(depth)
    except BaseException as caught:
        return caught
    raise AssertionError


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("count", [0, 1, 3, 5, 50])
def test_exactly_the_asked_number_of_innermost_frames_is_kept(count: int) -> None:
    kept = describe(raised(60), settings(exceptions__frame_count=count), text="")
    assert len(kept["frames"]) == count
    assert {frame["function"] for frame in kept["frames"]} <= {"raised.<locals>.fall"}
    if count:
        assert kept["frames"][-1]["code"] == 'raise error or ValueError("boom")'
        assert kept["frames"][-1]["file"] == __file__


def test_default_is_three_frames_and_no_traceback() -> None:
    kept = describe(raised(), SETTINGS)
    assert list(kept) == ["class", "message", "frames"]
    assert (kept["class"], kept["message"], len(kept["frames"])) == ("ValueError", "boom", 3)


def test_the_full_traceback_needs_detailed_logging_outside_of_production() -> None:
    wanted: dict[str, Any] = {"exceptions__detailed_logging": True}
    assert "traceback" not in describe(raised(), settings(**wanted))
    kept = describe(raised(), settings(**wanted, environment="staging"))
    assert kept["traceback"].endswith("ValueError: boom\n")
    assert kept["traceback"].count("fall(left - 1)") >= 1


class PaymentError(Exception):
    pass


def test_classes_are_named_with_their_module() -> None:
    assert qualified_name(PaymentError) == f"{__name__}.PaymentError"
    assert qualified_name(KeyError) == "KeyError"
    assert qualified_name(json.JSONDecodeError) == "json.decoder.JSONDecodeError"


def test_a_printed_traceback_gives_the_same_description() -> None:
    error = raised(error=PaymentError("card: declined\nby the bank"))
    own = describe(error, SETTINGS)
    read = describe(None, SETTINGS, text=printed(error))
    assert read["class"] == own["class"]
    assert read["message"] == own["message"]
    assert [frame["line"] for frame in read["frames"]] == [frame["line"] for frame in own["frames"]]
    assert [frame["code"] for frame in read["frames"]] == [frame["code"] for frame in own["frames"]]


def test_of_chained_errors_the_last_one_is_described() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise PaymentError("second") from error
    except PaymentError as caught:
        text = printed(caught)
    read = describe(None, SETTINGS, text=text)
    assert (read["class"], read["message"]) == (f"{__name__}.PaymentError", "second")
    assert [frame["code"] for frame in read["frames"]] == [
        'raise PaymentError("second") from error'
    ]


def test_frames_come_from_text_when_the_error_has_lost_them() -> None:
    error = raised()
    text = printed(error)
    error.__traceback__ = None
    kept = describe(error, SETTINGS, text=text)
    assert len(kept["frames"]) == 3
    assert kept["class"] == "ValueError"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("Work-horse terminated unexpectedly; waitpid returned 9", "", None),
        ("WorkerLostError: exited prematurely", "WorkerLostError", "exited prematurely"),
        ('Traceback (most recent call last):\n  File "x.py", line 1\nKeyError', "KeyError", ""),
        ("", "", ""),
        ("\x00\udc80", "", None),
    ],
)
def test_text_that_is_no_traceback_is_the_message(
    text: str, name: str, message: str | None
) -> None:
    kept = describe(None, SETTINGS, text=text)
    assert kept["class"] == name
    assert kept["message"] == (text if message is None else message)


def test_secrets_are_redacted_in_message_code_and_traceback() -> None:
    try:
        raise ValueError("cannot reach redis://app:hunter2@cache with password=hunter2")
    except ValueError as error:
        full = settings(exceptions__detailed_logging=True, environment="staging")
        text = json.dumps([describe(error, full), describe(None, full, text=printed(error))])
    assert "hunter2" not in text
    assert "[redacted]" in text


def test_errors_that_cannot_say_what_they_are_never_raise() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no message")

    assert describe(raised(error=SilentError()), SETTINGS)["message"] == "[unreadable]"
    assert describe(Exception.__new__(Exception), SETTINGS)["frames"] == []


@pytest.mark.parametrize("length", [100, 10_000, 5_000_000])
def test_a_description_has_bounded_size(length: int) -> None:
    full = settings(
        exceptions__frame_count=50, exceptions__detailed_logging=True, environment="staging"
    )
    error = raised(60, ValueError("\x00é" * length))
    for kept in (describe(error, full), describe(None, full, text=printed(error))):
        assert len(json.dumps(kept, ensure_ascii=False).encode()) <= MAX_BYTES
        assert kept["message"]


def test_recursion_without_end_is_described() -> None:
    def endless() -> None:
        endless()

    try:
        endless()
    except RecursionError as error:
        kept = describe(error, SETTINGS)
    assert kept["class"] == "RecursionError"
    assert len(kept["frames"]) == 3
