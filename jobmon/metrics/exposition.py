"""Prints families as text or as OpenMetrics.

What ``prometheus_client`` prints is the same, and takes ten times as long: a page has thousands of
lines, and is asked for all day long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from prometheus_client import utils

from jobmon.metrics.family import Family, Marked
from jobmon.store.state import Exemplar, Histogram

T = TypeVar("T")

_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_ESCAPES_OF_TEXT: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def printed(
    families: Iterable[Family[T]],
    source: T,
    constant: tuple[tuple[str, str], ...] = (),
    *,
    openmetrics: bool,
) -> bytes:
    """A page.

    Args:
        families: Its families.
        source: What they are read from.
        constant: Labels, with their values, that come before the families' own.
        openmetrics: In this format, which shows exemplars; else in Prometheus' text format.
    """
    lines: list[str] = []
    first = [_pair(name, value) for name, value in constant]
    for family in families:
        name = family.name
        title = name.removesuffix("_total") if openmetrics and family.type == "counter" else name
        text = family.help.translate(_ESCAPES if openmetrics else _ESCAPES_OF_TEXT)
        lines.append(f"# HELP {title} {text}\n# TYPE {title} {family.type}\n")
        uppers = [*(f'le="{float(bound)}"' for bound in family.bounds), 'le="+Inf"']
        for values, value in family.read(source):
            pairs = ",".join([*first, *map(_pair, family.labels, values)])
            labels = f"{{{pairs}}}" if pairs else ""
            if isinstance(value, Histogram):
                lines += _buckets(f"{name}_bucket{{{pairs}{',' if pairs else ''}", uppers, value)
                if openmetrics and value.exemplars:
                    _mark(lines, value.exemplars, len(uppers))
                lines.append(f"{name}_count{labels} {_number(value.count)}\n")
                lines.append(f"{name}_sum{labels} {_number(value.sum)}\n")
            elif isinstance(value, Marked):
                lines.append(f"{name}{labels} {_number(value.number)}\n")
                if openmetrics:
                    lines[-1] = _marked(lines[-1], value.exemplar, 1.0)
            else:
                lines.append(f"{name}{labels} {_number(value)}\n")
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode("utf-8", "replace")


def _buckets(before: str, uppers: list[str], observed: Histogram) -> Iterator[str]:
    count = 0
    for upper, more in zip(uppers, observed.counts, strict=True):
        count += more
        yield f"{before}{upper}}} {_number(count)}\n"


def _mark(lines: list[str], exemplars: Mapping[int, Exemplar], buckets: int) -> None:
    """Add exemplars to the last lines, which are those of the buckets."""
    for place, found in exemplars.items():
        at = place - buckets
        lines[at] = _marked(lines[at], found, found.seconds)


def _marked(line: str, found: Exemplar, value: float) -> str:
    ids = f'span_id="{found.span_id}",trace_id="{found.trace_id}"'
    return f"{line[:-1]} # {{{ids}}} {_number(value)} {found.ended_at}\n"


@lru_cache(8192)
def _number(value: float) -> str:
    return cast("Any", utils).floatToGoString(value)


@lru_cache(8192)
def _pair(name: str, value: str) -> str:
    return f'{name}="{value.translate(_ESCAPES)}"'
