"""Command runs that are open in this process: while it lives, each of them beats.

What says that a run is lost is silence alone. So only a run for which somebody will beat says so
at its start. For the runs of a worker's children their main process does, as long as the child
lives. For a scheduler's run nobody does: its process is over before it begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from jobmon.instrument import beats
from jobmon.instrument.wire import Item
from jobmon.model import Beat, RunTransition

if TYPE_CHECKING:
    from jobmon.instrument.commands import Run

MOST_RUNS: Final = 400
"""Of one process, so that one call carries all; further ones are not judged by their silence."""

_open: Final[dict[str, Run]] = {}
_of_children: Final[dict[str, int]] = {}
"""In a worker's main process: the child that each run is open in, by the run's id."""


def add(run: Run) -> bool:
    """Beat for a run from now on; False where nobody will."""
    by_itself = beats.can_beat()
    if len(_open) >= MOST_RUNS or not (by_itself or beats.is_beaten_for()):
        return False
    _open[run.id] = run
    if by_itself:
        beats.beat_with(_beats, missing=_missing, at_once=False)
    return True


def discard(run: Run) -> None:
    """The run ends here."""
    _open.pop(run.id, None)


def heard(item: Item) -> None:
    """A child handed something over to this main process: a run may begin there, or end."""
    if type(item) is not RunTransition:
        return
    if item.status == "running" and item.beats:
        _of_children[item.process_id] = int(json.loads(item.body)["pid"])
        beats.beat_with(_beats_of_children, at_once=False)
    else:
        _of_children.pop(item.process_id, None)


def _beats_of_children() -> Iterator[Beat]:
    for run_id, pid in tuple(_of_children.items()):
        if _lives(pid):
            yield Beat("run", run_id)
        else:
            _of_children.pop(run_id, None)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _beats() -> Iterator[Beat]:
    pid = os.getpid()
    # A fork inherits the runs of its parent, which still beats for them.
    return (Beat("run", run.id) for run in tuple(_open.values()) if run.pid == pid)


def _missing(run_id: str) -> None:
    run = _open.get(run_id)
    if run is not None:
        run.tell_again()
