"""Numbers in the units in which people say them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_SIZES: Final = ("B", "kB", "MB", "GB", "TB")


def span(seconds: float) -> str:
    """A length of time in the unit that people would choose: ``0.42 s``, ``9.4 min``, ``2.1 h``."""
    one, unit = time_unit(seconds)
    return f"{digits(seconds / one)} {unit}"


def size(number: float) -> str:
    """Bytes: ``134 MB``."""
    one, unit = bytes_unit(number)
    return f"{digits(number / one)} {unit}"


def count(number: float) -> str:
    """A number of things: ``1,200``."""
    return f"{number:,.0f}"


def many(number: int, thing: str, things: str = "") -> str:
    """So many of a thing: ``1 run``, ``2 runs``."""
    return f"{count(number)} {thing if number == 1 else things or f'{thing}s'}"


def digits(number: float) -> str:
    """Two that count, or as many as stand before the point."""
    if not math.isfinite(number):
        return "?"
    return f"{number:,.0f}" if abs(number) >= 9.95 else f"{float(f'{number:.2g}'):g}"


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit of a length of time: its seconds, and its name."""
    for one, unit in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * one:
            return one, unit
    return (1.0, "s") if seconds >= 0.1 or not seconds else (0.001, "ms")


def bytes_unit(number: float) -> tuple[float, str]:
    """The unit of a number of bytes: how many it is, and its name."""
    # In this order, one that is no number is taken for the least.
    power = int(math.log(min(max(1.0, number), 1e300), 1000))
    power = min(len(_SIZES) - 1, power)
    return 1000.0**power, _SIZES[power]


def count_unit(_number: float) -> tuple[float, str]:
    """That of a number of things, which has none."""
    return 1.0, ""


def written(metric: str, number: float) -> str:
    """A number of a metric, as `jobmon.analysis.checks.Check` has it."""
    if not math.isfinite(number):
        return "?"
    return _WRITTEN.get(metric, span)(number)


def _percent(number: float) -> str:
    return f"{digits(number)} %"


_WRITTEN: Final[dict[str, Callable[[float], str]]] = {
    "job_count": count,
    "failure_rate": _percent,
    "peak_memory": size,
}
"""The others are lengths of time."""
