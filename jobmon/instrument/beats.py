"""Signs of life: what lives in this process says so from time to time, in one call for all.

Sources are asked on the process's flusher thread, never in a hook. A beat that the store does
not take is dropped: the next one tells the same.
"""

from __future__ import annotations

from jobmon.instrument import recorder
from jobmon.instrument.guard import guarded
from jobmon.instrument.pulse import Missing, Source


@guarded
def beat_with(source: Source, *, missing: Missing | None = None, at_once: bool = True) -> None:
    """Ask a source for beats each ``beats.interval_seconds`` from now on, in this process alone.

    Naming it again changes nothing. A process that a worker forked beats for nobody.

    Args:
        source: What lives now; called on the flusher thread, must not block. What it no longer
            names is taken for silent, not for gone.
        missing: Called with the id of each run that the store does not hold as running.
        at_once: Beat now, too, and not only an interval from now.
    """
    own = recorder.own()
    if own.pulse.add(source, missing, at_once=at_once):
        own.beat()


def can_beat() -> bool:
    """Whether this process beats at all: no child of a worker does."""
    return recorder.own().beats


def is_beaten_for() -> bool:
    """Whether another process beats for what lives in this one: that of a child's worker."""
    return recorder.own().role is recorder.Role.CHILD


@guarded
def beat_soon() -> None:
    """Ask every source now rather than at the end of the interval: something changed."""
    own = recorder.own()
    own.pulse.hurry()
    own.beat()


@guarded
def stop_beating(source: Source) -> None:
    """Let go of a source, and take back at once the workers and schedulers it beat for."""
    own = recorder.own()
    if own.pulse.remove(source):
        own.beat()
