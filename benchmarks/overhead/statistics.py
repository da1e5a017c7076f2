"""From rounds to numbers: minima, what a row adds, and how far the rounds let one trust it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.overhead.rounds import Cost

PARTS: Final = ("worker", "producer", "redis")
_RESAMPLES: Final = 2000
_INTERVAL: Final = (0.05, 0.95)

Rounds = Sequence[Mapping[str, Sequence[Cost]]]
"""Per round, what each row cost, by its key, in each of its turns."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number made of minima, and where 90 % of the resampled rounds put it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Target:
    """What must hold."""

    title: str
    estimate: Estimate
    at_most: float

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.estimate.value <= self.at_most


def best(rounds: Rounds, row: str) -> Cost:
    """The round in which a row cost least: noise only ever adds."""
    return min((mean(one[row]) for one in rounds), key=lambda cost: cost.total)


def mean(turns: Sequence[Cost]) -> Cost:
    """What a row cost in one round."""
    return Cost(*(statistics.fmean(getattr(one, part) for one in turns) for part in PARTS))


def typical_share(rounds: Rounds, row: str, base: str) -> float:
    """Median over all turns of what a row costs above another's turn beside it, as a share."""
    return statistics.median(
        one.total / beside.total - 1
        for each in rounds
        for one, beside in zip(each[row], each[base], strict=True)
    )


def estimate(rounds: Rounds, number: Callable[[Rounds], float]) -> Estimate:
    """A number, and its interval by resampling whole rounds."""
    draw = random.Random(0)
    values = sorted(number([draw.choice(rounds) for _ in rounds]) for _ in range(_RESAMPLES))
    low, high = (values[int(share * (_RESAMPLES - 1))] for share in _INTERVAL)
    return Estimate(number(rounds), low, high)


def added(rounds: Rounds, row: str, base: str) -> float:
    """What a row costs above another."""
    return best(rounds, row).total - best(rounds, base).total


def added_by(row: str, base: str) -> Callable[[Rounds], float]:
    """:func:`added` as a number of rounds."""
    return lambda rounds: added(rounds, row, base)


def targets(rounds: Rounds) -> list[Target]:
    """What can be judged with the rows measured."""
    rows = set(rounds[0])
    bare, own, spans = "celery:bare", "celery:jobmon", "celery:jobmon-spans"
    found: list[Target] = []
    if {bare, own, "celery:events"} <= rows:
        found.append(
            Target(
                "Celery: jobmon adds, of what `-E` adds",
                estimate(
                    rounds, lambda r: _share(added(r, own, bare), added(r, "celery:events", bare))
                ),
                0.25,
            )
        )
    if {bare, own, spans, "celery:otel"} <= rows:
        for title, base in (
            ("Celery: exported spans add to jobmon", own),
            ("Celery: jobmon with exported spans adds to bare", bare),
        ):
            found.append(
                Target(
                    f"{title}, of what opentelemetry-instrumentation-celery adds",
                    estimate(
                        rounds,
                        lambda r, base=base: _share(
                            added(r, spans, base), added(r, "celery:otel", bare)
                        ),
                    ),
                    1.3,
                )
            )
    if {"rq:bare", "rq:jobmon"} <= rows:
        found.append(
            Target(
                "RQ: jobmon without an SDK adds, of bare",
                estimate(
                    rounds,
                    lambda r: added(r, "rq:jobmon", "rq:bare") / best(r, "rq:bare").total,
                ),
                0.03,
            )
        )
    return found


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("inf")
