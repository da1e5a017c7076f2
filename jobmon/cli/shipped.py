"""The files that travel with jobmon, such as dashboards and rules, and how they are written out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from jobmon.errors import JobmonError

_PACKAGE: Final = Path(__file__).parents[1]
_PLACES: Final = (_PACKAGE / "_shipped", _PACKAGE.parent)
"""In a wheel; in a checkout, where an editable install finds them too."""


class ShippedError(JobmonError):
    """A file that should have come with jobmon is not there, or cannot be written out."""


def folder(name: str) -> Path:
    """Where ``alerts`` or ``grafana`` is.

    Raises:
        ShippedError: This installation has none.
    """
    for place in _PLACES:
        if (found := place / name).is_dir():
            return found
    raise ShippedError(
        f"this installation has no folder {name}: install a wheel of jobmon, or use a checkout"
    )


def put(path: Path, text: str) -> bool:
    """Write a file whole, or leave the one that is there as it was.

    Returns:
        False if it had that text already; then it is not touched.

    Raises:
        ShippedError: It cannot be written.
    """
    data = text.encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_file() and path.read_bytes() == data:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ShippedError(f"cannot write {path}: {error.strerror}") from error
    return True
