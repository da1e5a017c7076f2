"""What people type: one module per command, loaded only when that command is chosen.

Called by the ``jobmon`` script; uses every part below it.
Must never be imported by the parts below it.
"""

import sys
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command; ``jobmon run`` passes on its program's own instead."""

    DONE = 0
    FAILED = 1
    """Ran, but something did not work."""
    USAGE = 2
    """Unknown option, bad value, invalid configuration, or a missing extra."""
    FOUND = 3
    """What ``--fail-on`` asks about is there."""
    UNAVAILABLE = 69
    """Redis or the database cannot be reached."""
    TRY_AGAIN = 75
    """Somebody else was at it for all the time that we waited."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    """Whoever read our output has gone, as ``head`` does."""


def say(message: str) -> None:
    """Tell the person at the terminal, apart from what the command prints."""
    print(message, file=sys.stderr)
