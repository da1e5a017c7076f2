"""Wrapping methods of a library in place, in every class that owns them.

For moments without a signal: RQ, Click and Django have none, Celery not for all. RQ's own code
builds base classes whatever class it was told to use, so nothing short of its methods sees
everything. A wrapped method calls the original exactly once, whatever happens to the hooks,
returns its value and raises its exception unchanged.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Final, NamedTuple, cast

from jobmon.instrument.guard import guarded

Before = Callable[..., Any]
"""Takes the method's own arguments; what it returns goes to the hook after."""
After = Callable[[Any, Any, BaseException | None], None]
"""Takes what the hook before returned, the method's result, and what it raised."""


class Hook(NamedTuple):
    """What happens around one method."""

    method: str
    before: Before | None = None
    after: After | None = None


class _Local(threading.local):
    def __init__(self) -> None:
        self.inside: set[tuple[str, int, int]] = set()


class Patches:
    """The methods wrapped so far, and the way back."""

    def __init__(self) -> None:
        self.active = False
        self._local: Final = _Local()
        self._done: dict[tuple[type, str], tuple[Any, Any]] = {}

    def wrap(self, classes: Iterable[type | None], hooks: Iterable[Hook]) -> None:
        """Put the hooks around each method, in each class of the MROs that defines it.

        Somebody else's patch of a subclass is an owner too: were only the base class wrapped,
        the subclass would go past us. Calling again wraps only what is new.
        """
        self.active = True
        owners = {owner: None for cls in classes if cls is not None for owner in cls.__mro__}
        for hook in hooks:
            for owner in owners:
                found = owner.__dict__.get(hook.method)
                if owner is object or (owner, hook.method) in self._done:
                    continue
                if not hasattr(found, "__get__"):  # None, or a mock that knows nothing of owners
                    continue
                ours = self._wrapped(found, hook)
                setattr(owner, hook.method, ours)
                self._done[owner, hook.method] = (found, ours)

    def undo(self) -> None:
        """Restore every method; where somebody wrapped ours meanwhile, ours only steps aside."""
        self.active = False
        for (owner, method), (found, ours) in reversed(self._done.items()):
            if owner.__dict__.get(method) is ours:
                setattr(owner, method, found)
        self._done.clear()

    def _wrapped(self, found: Any, hook: Hook) -> Any:
        if type(found) is classmethod:
            return classmethod(self._around(cast(Any, found).__func__, hook))
        if type(found) is FunctionType:
            return self._around(found, hook)
        # Somebody else's wrapper, perhaps of a class method and posing as one: only by its own
        # binding does it learn for whom it is called.
        of_class = isinstance(found, classmethod)

        @functools.wraps(found)
        def bound(owner: Any, /, *args: Any, **kwargs: Any) -> Any:
            binding = (None, owner) if of_class else (owner, owner.__class__)
            return found.__get__(*binding)(*args, **kwargs)

        ours = self._around(bound, hook)
        return classmethod(ours) if of_class else ours

    def _around(self, original: Callable[..., Any], hook: Hook) -> Callable[..., Any]:
        name = hook.method
        before = guarded(hook.before) if hook.before is not None else None
        after = guarded(hook.after) if hook.after is not None else None
        local = self._local

        @functools.wraps(original)
        def method(owner: Any, /, *args: Any, **kwargs: Any) -> Any:
            # An overriding method that calls super() is one call, not two.
            subject = args[0] if args else kwargs.get("job")
            key = (name, id(owner), id(subject))
            inside = local.inside
            if not self.active or key in inside:
                return original(owner, *args, **kwargs)
            inside.add(key)
            try:
                state = before(owner, *args, **kwargs) if before is not None else owner
                if after is None:
                    return original(owner, *args, **kwargs)
                try:
                    result = original(owner, *args, **kwargs)
                except BaseException as error:
                    after(state, None, error)
                    raise
                after(state, result, None)
                return result
            finally:
                inside.discard(key)

        return method
