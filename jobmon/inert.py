"""Text that users control, made harmless for logs and terminals.

Called by the CLI, the server and the demo; imports the standard library only.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 256
"""Characters of one value in a log line."""

# C0 and C1 controls (ANSI sequences, line ends), line and paragraph separators, characters that
# reverse or hide text, byte-order mark, lone surrogates.
_ACTIVE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def inert(text: object, longest: int = LONGEST) -> str:
    """The text with every character that could act on a reader's screen written as an escape.

    Args:
        text: Anything; its ``str`` is used.
        longest: Most characters of the result; what is cut off leaves an ellipsis.
    """
    # One character grows to at most ten, so what lies beyond can never be shown.
    shown = _ACTIVE.sub(_escape, str(text)[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")
