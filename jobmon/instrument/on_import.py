"""Act when a module has been imported, without importing it.

An engine is only touched once the user's own code imports it: a finder first in
``sys.meta_path`` lets the other finders find a watched module and runs the callback after its
loader executed it (PEP 451).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from jobmon.instrument.guard import guarded

_callbacks: Final[dict[str, list[Callable[[], None]]]] = {}


def on_import(name: str, callback: Callable[[], None]) -> None:
    """Call back once ``name`` is imported, at once if it already is. Errors stay inside."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and not getattr(spec, "_initializing", False):
        _call([callback])
        return
    _callbacks.setdefault(name, []).append(callback)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


class _Finder(MetaPathFinder):
    """Finds only watched modules, through everybody else's finders."""

    def __init__(self) -> None:
        self._searching: set[str] = set()

    @guarded
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname not in _callbacks or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        except (ImportError, ValueError):
            return None
        finally:
            self._searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """The found loader, with the callbacks run after it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module keeps the loader that it would have had without us.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _call(_callbacks.pop(module.__name__, ()))


@guarded
def _call(callbacks: Iterable[Callable[[], None]]) -> None:
    for callback in callbacks:
        guarded(callback)()


_finder: Final = _Finder()
