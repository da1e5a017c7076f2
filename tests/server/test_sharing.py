"""Who asks for the same at the same time shares a reading, and never one that is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from jobmon.server.sharing import Sharing

Read = Callable[[], Awaitable[int]]


class Source:
    """Counts how often it was read, each time as long as it is held."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go_on.wait()
        if number == 3:
            raise LookupError("the third")
        return number


async def begun(source: Source, number: int) -> None:
    async with asyncio.timeout(10):
        while source.begun < number:
            await asyncio.sleep(0)


def test_who_asks_while_one_is_read_shares_the_next() -> None:
    async def ask() -> None:
        source, sharing = Source(), Sharing[int]()
        first = asyncio.create_task(sharing.read("a", source.read))
        await begun(source, 1)
        others = [asyncio.create_task(sharing.read("a", source.read)) for _ in range(7)]
        another = asyncio.create_task(sharing.read("b", source.read))
        await begun(source, 2)
        assert not any(one.done() for one in (first, another, *others))
        source.go_on.set()
        assert await first == 1
        assert await another == 2
        with pytest.raises(LookupError):
            await others[0]
        found = await asyncio.gather(*others, return_exceptions=True)
        assert [str(one) for one in found] == ["the third"] * 7
        assert source.begun == 3
        assert await sharing.read("a", source.read) == 4

    asyncio.run(ask())


def test_one_who_goes_away_takes_it_from_nobody() -> None:
    async def ask() -> None:
        source, sharing = Source(), Sharing[int]()
        tasks = [asyncio.create_task(sharing.read("a", source.read)) for _ in range(3)]
        await begun(source, 1)
        tasks[0].cancel()
        source.go_on.set()
        assert await asyncio.gather(*tasks[1:]) == [1, 1]
        assert source.begun == 1
        assert not sharing._newest

    asyncio.run(ask())


def test_another_loop_begins_anew() -> None:
    sharing = Sharing[int]()

    async def broken_off() -> None:
        source = Source()
        waiting = asyncio.ensure_future(sharing.read("a", source.read))
        await begun(source, 1)
        assert not waiting.done()

    async def ask() -> int:
        source = Source()
        source.go_on.set()
        return await sharing.read("a", source.read)

    asyncio.run(broken_off())
    assert asyncio.run(ask()) == 1
