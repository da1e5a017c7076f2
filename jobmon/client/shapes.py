"""How answers are read: out of their envelope, and without what this version does not know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Generic, Protocol, TypeVar, cast

import httpx
from pydantic import TypeAdapter

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """Entries of a list that has no numbered pages."""

    entries: list[T]
    total: int
    """How many there are, also where not all are in `entries`."""
    next_cursor: str | None
    """Leads to what follows; None: nothing that can be asked for."""


class Shape(Protocol[T_co]):
    """One way to read a response."""

    def read(self, response: httpx.Response) -> T_co:
        """What it holds.

        Raises:
            ValueError: It is nothing of this shape.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Envelope(Generic[T]):
    data: T


@dataclass(frozen=True, slots=True)
class _Sentence:
    message: str


@dataclass(frozen=True)
class Whole(Generic[T]):
    """JSON without an envelope."""

    answer: type[T]

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self.answer)

    def read(self, response: httpx.Response) -> T:
        return self._adapter.validate_json(response.content, extra="ignore")


@dataclass(frozen=True)
class Data(Generic[T]):
    """The data of an envelope."""

    answer: type[T]

    @cached_property
    def _adapter(self) -> TypeAdapter[_Envelope[T]]:
        return TypeAdapter(cast(Any, _Envelope)[self.answer])

    def read(self, response: httpx.Response) -> T:
        return self._adapter.validate_json(response.content, extra="ignore").data


@dataclass(frozen=True)
class Entries(Generic[T]):
    """A list in an envelope, what is known of the rest in headers."""

    answer: type[T]
    """Of one entry."""

    @cached_property
    def _entries(self) -> Data[list[T]]:
        return Data(cast("type[list[T]]", list[cast(Any, self.answer)]))

    def read(self, response: httpx.Response) -> Listing[T]:
        entries = self._entries.read(response)
        total = int(response.headers.get("x-total-count", len(entries)))
        # Its cursor alone: an address may lead elsewhere, and takes the token along.
        following = response.links.get("next", {}).get("url")
        cursor = httpx.URL(following).params.get("cursor") if following else None
        return Listing(entries, total, cursor)


@dataclass(frozen=True, slots=True)
class Sentence:
    """What was done, for people."""

    def read(self, response: httpx.Response) -> str:
        return _sentence.validate_json(response.content, extra="ignore").message


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is no JSON."""

    media_type: str

    def read(self, response: httpx.Response) -> str:
        kind = response.headers.get("content-type", "")
        if kind.partition(";")[0] != self.media_type:
            raise ValueError(f"{kind} in place of {self.media_type}")
        return response.text


@dataclass(frozen=True, slots=True)
class Fine:
    """Whether it is as it should be: the status says so."""

    def read(self, response: httpx.Response) -> bool:
        _fine.validate_json(response.content)
        return response.status_code == HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class _Fine:
    success: bool


_sentence = TypeAdapter(_Sentence)
_fine = TypeAdapter(_Fine)
