"""Refuses heavy modules from an interpreter's start on, and keeps who asked for them.

redis-py loads an SDK that is installed by itself, so what is loaded says nothing of us.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

_HEAVY = frozenset(
    "scipy sqlalchemy starlette uvicorn prometheus_client pydantic rich opentelemetry.sdk".split()
)
_ROOT = Path(__file__).parents[4]
_OURS = f"{_ROOT / 'jobmon'}/"
_OTHERS = (f"{_ROOT / 'tests'}/", "/redis/", "/celery/", "/rq/")
asked: list[str] = []
"""``<module> by us`` or ``<module> by others`` for each attempt."""


class _Refusing:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in _HEAVY:
            asked.append(f"{name} by {'us' if _by_us(sys._getframe(1)) else 'others'}")
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _by_us(frame: FrameType | None) -> bool:
    """Whether we are nearer to the import than an application or another library of interest."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            return True
        if any(other in file for other in _OTHERS):
            return False
        frame = frame.f_back
    return False


sys.meta_path.insert(0, _Refusing())  # type: ignore[arg-type]
