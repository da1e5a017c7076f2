"""Owns the hooks in the users' processes: what they publish, start and end becomes transitions.

Called by users and by the engines' own hooks; writes through the recorder.
Must never import metrics, history, analysis, server, cli, or any engine before the user did.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from jobmon.instrument.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobmon.settings import Settings


class _Package(ModuleType):
    """``jobmon.instrument()`` and the package of that name are one object.

    Importing any module of it binds the package in ``jobmon``, where it would hide a function.
    """

    @guarded
    def __call__(self, settings: Settings | Mapping[str, object] | None = None) -> None:
        from jobmon.instrument.install import instrument

        instrument(settings)


sys.modules[__name__].__class__ = _Package
