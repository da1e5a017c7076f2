"""The root of every error that jobmon raises on purpose.

Owns ``JobmonError`` alone; each package defines its own kinds beside the code that raises them.
Called by everyone; imports nothing.
"""


class JobmonError(Exception):
    """Something jobmon refuses: the message says what, where, and what is allowed."""
