"""The page of a list, as Laravel's paginator writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from jobmon.answers.values import Answer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageLink(Answer):
    """One entry of a page's navigation."""

    url: str | None
    """Null for a gap, and for the page before the first and after the last."""
    label: str
    """Text with HTML entities: `&laquo; Previous`, a number, `...`, or `Next &raquo;`."""
    page: int | None
    """Number of the page that it leads to."""
    active: bool
    """Whether it is the page shown."""


@dataclass(frozen=True, slots=True)
class Paginator(Answer, Generic[T]):
    """A page of a list. Its addresses keep the parameters of the request."""

    current_page: int
    """As asked, also beyond the last."""
    data: list[T]
    first_page_url: str
    from_: Annotated[int | None, Field(alias="from")]
    """Number of the first entry, from 1; null on an empty page."""
    last_page: int
    """1 for an empty list."""
    last_page_url: str
    links: list[PageLink]
    next_page_url: str | None
    path: str
    """Address without parameters."""
    per_page: int
    prev_page_url: str | None
    to: int | None
    """Number of the last entry; null on an empty page."""
    total: int
