"""Numbers among the options."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(most: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from 1 to ``most``."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and 1 <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 to {most}")

    return parse
