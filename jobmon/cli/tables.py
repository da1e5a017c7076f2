"""What tables of several commands have in common: their look, cells and durations."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobmon.inert import inert

LONGEST: Final = 60
"""Of what users named."""
_WIDTH_WITHOUT_TERMINAL: Final = 160


def console() -> Console:
    """Where tables go: nothing in them is markup, and a pipe gets whole lines."""
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _WIDTH_WITHOUT_TERMINAL
    return made


def table(title: str, *columns: str) -> Table:
    """An empty table."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in columns:
        made.add_column(name, no_wrap=True)
    return made


def cell(text: str, longest: int = LONGEST) -> Text:
    """Text that users wrote."""
    return Text(inert(text, longest), overflow="ellipsis")


def ago(moment: float | None, now: float) -> str:
    """How long ago a moment was, or how far off it is."""
    if moment is None:
        return "-"
    if moment > now:
        return f"in {duration(moment - now)}"
    return f"{duration(now - moment)} ago"


def duration(seconds: float) -> str:
    """Roughly: the two largest units."""
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller:02d} {smaller_unit}"
    return f"{whole} s"
