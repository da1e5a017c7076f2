"""Learns the bounds of commands as they are evaluated, and keeps them in the store."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jobmon.analysis import bounds
from jobmon.analysis.missed import Expectation
from jobmon.analysis.turns import Turn
from jobmon.history.incidents import Change
from jobmon.history.runs import CommandKey
from jobmon.store.bounds import Bounds, BoundStore, Learned
from jobmon.store.series import MOST_COMMANDS, label

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings


class Learning:
    """What is known of all commands, through one evaluation after the other."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._store = BoundStore(client, settings)
        self._known: dict[tuple[str, ...], Learned] = {}
        self._labels: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Read what is known, whoever learned it.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        self._known = self._store.commands()
        self._labels = self._store.labels()

    def is_wanted(self, key: CommandKey, *, has_new: bool) -> bool:
        """Whether its runs are to be looked at: something is new, or all of it is."""
        if key in self._known:
            return has_new
        # Who has no series of its own has nothing that a bound could be compared with.
        has_series = label(key.command).decode() in self._labels
        return has_series and len(self._known) < MOST_COMMANDS

    def take(self, found: Iterable[tuple[Turn, Sequence[Change]]], now: float) -> None:
        """Take in what an evaluation found of some commands.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        changed: dict[tuple[str, ...], Learned] = {}
        for turn, changes in found:
            known = self._known.get(turn.key)
            if known is None and (turn.lesson is None or len(self._known) >= MOST_COMMANDS):
                continue
            after = taught(known, turn, changes, now)
            if after != known:
                changed[turn.key] = self._known[turn.key] = after
        self._store.write(changed)

    def forget(self, before: float, awaited: Container[tuple[str, ...]]) -> None:
        """Drop commands that have not started since, but for those of which a start is awaited.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        gone = [
            key
            for key, one in self._known.items()
            if one.started_at < before and key not in awaited
        ]
        if gone:
            self._store.write({}, gone)
            for key in gone:
                del self._known[key]


def taught(known: Learned | None, turn: Turn, changes: Sequence[Change], now: float) -> Learned:
    """What is known of a command after its turn. Pure.

    Args:
        known: Before.
        turn: Of it.
        changes: What becomes of its incidents.
        now: Unix seconds.
    """
    after = known or Learned(bounds=Bounds())
    lesson = turn.lesson
    if lesson is not None:
        incidents = [*turn.incidents, *(one.after for one in changes if one.after)]
        is_frozen = any(one.state == "open" for one in incidents)
        pairs = zip(after.bounds, bounds.rounded(lesson.limits), strict=True)
        after = replace(
            after,
            bounds=Bounds(*(bounds.settled(*pair, now, is_frozen=is_frozen) for pair in pairs)),
            runs=lesson.runs,
            learned_at=now,
            started_at=lesson.started_at,
            jobs=lesson.jobs,
            failure_ratio=lesson.failure_ratio,
        )
    awaited = _scheduled(turn.expectation)
    return replace(
        after,
        maximum_seconds=turn.wishes.maximum_run_time_seconds,
        is_muted=turn.wishes.rules.is_muted,
        expected_at=awaited.due_at if awaited else None,
        expected_after=awaited.last_start_at if awaited else 0.0,
        grace_seconds=awaited.late_at - awaited.due_at if awaited else None,
    )


def _scheduled(awaited: Expectation | None) -> Expectation | None:
    """Of a schedule; that a command fell silent is another thing."""
    return None if awaited is None or awaited.source == "silence" else awaited
