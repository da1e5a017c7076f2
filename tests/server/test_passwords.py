"""Passwords are kept as scrypt makes them, and looked at one at a time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from jobmon.server import passwords
from jobmon.server.passwords import BusyError, Passwords, keep, written
from jobmon.settings import load

ANN = keep("ann", "read", b"secret")


def test_what_is_written_is_what_the_setting_reads() -> None:
    text = written(ANN)
    assert text.startswith("ann:read:scrypt:16384:8:5:")
    assert load({"auth.basic": text}, environ={}).auth.basic == (ANN,)
    assert written(keep("ann", "read", b"secret")) != text


def test_a_right_password_is_looked_at_once_and_a_wrong_one_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users = Passwords([ANN, keep("ann", "operate", b"other")])
    assert users.known("ann", b"secret") is None

    async def look(name: str, password: bytes) -> str | None:
        found = await users.look(name, password)
        return found.scope if found is not None else None

    assert asyncio.run(look("ann", b"secret")) == "read"
    assert asyncio.run(look("ann", b"other")) == "operate"
    assert asyncio.run(look("ann", b"wrong")) is None
    assert asyncio.run(look("ben", b"secret")) is None
    assert users.known("ann", b"wrong") is None
    assert users.known("ben", b"secret") is None
    assert users.known("ann", b"other") is not None
    monkeypatch.setattr(passwords, "_KNOWN_SECONDS", -1.0)
    assert asyncio.run(look("ann", b"other")) == "operate"
    assert users.known("ann", b"other") is None


@pytest.mark.clock
def test_a_name_that_nobody_has_takes_as_long() -> None:
    users = Passwords([ANN])
    seconds = {}
    for name in ("ann", "nobody"):
        began = time.perf_counter()
        for _ in range(3):
            assert asyncio.run(users.look(name, b"wrong")) is None
        seconds[name] = time.perf_counter() - began
    assert 0.5 < seconds["nobody"] / seconds["ann"] < 2


def test_one_is_looked_at_at_a_time_and_few_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    users = Passwords([ANN])
    going_on = threading.Event()
    at_once: list[int] = []
    running = 0

    def slow(_user: object, _password: bytes) -> str:
        nonlocal running
        running += 1
        at_once.append(running)
        going_on.wait(10)
        running -= 1
        return ""

    monkeypatch.setattr(passwords, "_key", slow)

    async def ask() -> tuple[int, list[object]]:
        tasks = [asyncio.create_task(users.look("ann", b"x")) for _ in range(20)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        refused = sum(isinstance(one.exception(), BusyError) for one in done)
        going_on.set()
        return refused, await asyncio.gather(*tasks, return_exceptions=True)

    refused, found = asyncio.run(ask())
    assert refused == 4
    assert found.count(None) == 16
    assert set(at_once) == {1}
