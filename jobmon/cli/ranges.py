"""A number beside what is usual, on a line of text: ``[---|---]      *``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_WIDTH: Final = 40


@dataclass(frozen=True, slots=True)
class Scale:
    """Where numbers are on the line. Ratios are distances; zero is at the left end."""

    least: float
    most: float
    width: int = _WIDTH

    @classmethod
    def over(cls, numbers: Iterable[float], width: int = _WIDTH) -> Scale:
        """From the least of some positive numbers to the most of them."""
        found = [one for one in numbers if math.isfinite(one) and one > 0]
        least, most = (min(found), max(found)) if found else (1.0, 1.0)
        return cls(least, most, width)

    def column(self, number: float) -> int:
        """Where a number is, from 0 to ``width - 1``."""
        if not number > self.least or self.most <= self.least:
            return 0
        if number >= self.most:
            return self.width - 1
        span = math.log(self.most) - math.log(self.least)
        return round((math.log(number) - math.log(self.least)) / span * (self.width - 1))

    def drawn(self, low: float, centre: float, high: float, current: float) -> str:
        """The line: from ``low`` to ``high`` in brackets, ``|`` the centre, ``*`` the number."""
        line = [" "] * self.width
        first, last = self.column(low), self.column(high)
        line[first : last + 1] = "-" * (last - first + 1)
        line[self.column(centre)] = "|"
        line[first], line[last] = "[", "]"
        if math.isfinite(current):
            line[self.column(current)] = "*"
        return "".join(line).rstrip()
