"""What is too much for one call, in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of at most that size, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
