"""Pages of lists: from rows and their number to what Laravel's paginator writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from starlette.requests import Request

from jobmon.answers.paginator import PageLink, Paginator
from jobmon.server.query import Paged

T = TypeVar("T")

_ON_EACH_SIDE: Final = 3
_PREVIOUS: Final = "&laquo; Previous"
_NEXT: Final = "Next &raquo;"
_GAP: Final = PageLink(None, "...", None, active=False)


def address(request: Request, public_url: str | None) -> str:
    """The request's own address as its sender can reach it, without parameters.

    Args:
        request: The request.
        public_url: The setting: stands in place of what the sender called the server.
    """
    path: str = request.scope["path"]
    if public_url is None:
        base = f"{request.scope['scheme']}://{request.headers['host']}"
    else:
        base = public_url
        path = path.removeprefix(request.scope.get("root_path", ""))
    return f"{base}{quote(path, safe='/:')}"


def offset(query: Paged) -> int:
    """How many entries are before the page."""
    return (query.page - 1) * query.per_page


def paginator(address: str, query: Paged, rows: Sequence[T], total: int) -> Paginator[T]:
    """A page of a list.

    Args:
        address: Of the list, see :func:`address`.
        query: What was asked.
        rows: Entries of the page.
        total: Entries of all pages.
    """
    current, size = query.page, query.per_page
    last = max(1, -(-total // size))
    kept = urlencode({name: text for name, text in query.given.items() if name != "page"})
    start = f"{address}?{kept}&page=" if kept else f"{address}?page="
    before = current - 1 if current > 1 else None
    after = current + 1 if current < last else None

    def url(page: int | None) -> str | None:
        return None if page is None else f"{start}{page}"

    first_row = (current - 1) * size + 1 if rows else None
    numbered = (
        _GAP if page is None else PageLink(f"{start}{page}", str(page), page, page == current)
        for page in window(current, last)
    )
    return Paginator(
        current_page=current,
        data=list(rows),
        first_page_url=f"{start}1",
        from_=first_row,
        last_page=last,
        last_page_url=f"{start}{last}",
        links=[
            PageLink(url(before), _PREVIOUS, before, active=False),
            *numbered,
            PageLink(url(after), _NEXT, after, active=False),
        ],
        next_page_url=url(after),
        path=address,
        per_page=size,
        prev_page_url=url(before),
        to=None if first_row is None else first_row + len(rows) - 1,
        total=total,
    )


def window(current: int, last: int) -> list[int | None]:
    """Which pages the navigation names; None stands for a gap.

    All of up to 13; of more, the first and the last two, and three on each side of the current one.
    """
    side = 2 * _ON_EACH_SIDE
    if last < side + 8:
        return list(range(1, last + 1))
    if current <= side + 1:
        return [*range(1, side + 5), None, last - 1, last]
    if current > last - side - 1:
        return [1, 2, None, *range(last - side - 3, last + 1)]
    near = range(current - _ON_EACH_SIDE, current + _ON_EACH_SIDE + 1)
    return [1, 2, None, *near, None, last - 1, last]
