"""A page of a list, with the number of entries of all pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows."""

    rows: list[T]
    total: int
    """Rows of all pages, counted in the same transaction."""
