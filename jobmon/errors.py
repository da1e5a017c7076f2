"""The root of every error that jobmon raises on purpose.

Owns ``JobmonError`` and two kinds of it that callers tell apart; each package defines its own
beside the code that raises them.
Called by everyone; imports nothing.
"""


class JobmonError(Exception):
    """Something jobmon refuses: the message says what, where, and what is allowed."""


class Unavailable(JobmonError):  # noqa: N818 a state, not a fault
    """Something outside, such as a database, does not answer; it may later."""


class UsageError(JobmonError):
    """What somebody typed cannot be meant."""
