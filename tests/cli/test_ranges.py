"""Numbers drawn beside what is usual."""

from __future__ import annotations

import math

import pytest

from jobmon.cli.ranges import Scale


def test_a_ratio_is_the_same_distance_everywhere() -> None:
    scale = Scale(1, 16, 41)
    assert [scale.column(one) for one in (1, 2, 4, 8, 16)] == [0, 10, 20, 30, 40]


def test_a_number_is_shown_beside_its_bounds() -> None:
    assert Scale(1, 16, 41).drawn(2, 4, 8, 16) == " " * 10 + "[---------|---------]" + " " * 9 + "*"


@pytest.mark.parametrize("number", [0.0, -1.0, 1e300, math.nan, math.inf, 5e-324])
def test_every_number_has_a_place(number: float) -> None:
    for scale in (Scale.over([]), Scale.over([3.0]), Scale.over([number, 1.0, 2.0])):
        line = scale.drawn(number, number, number, number)
        assert len(line) <= 40
