"""Which of the commands that hooks find are recorded, by their names."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from jobmon.settings import Settings

_EVERYTHING: Final = frozenset("*")


def wanted(name: str, settings: Settings, *, left_out: bool = False) -> bool:
    """Whether a command that nobody named to jobmon is recorded.

    Args:
        name: The command's.
        settings: ``commands.include`` and ``commands.exclude``.
        left_out: It is no unit of work, such as a server: only a pattern that says more than
            ``*`` takes it in.
    """
    chosen = settings.commands
    if _matches(name, chosen.exclude):
        return False
    include = set(chosen.include)
    return _matches(name, include - _EVERYTHING if left_out else include)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
