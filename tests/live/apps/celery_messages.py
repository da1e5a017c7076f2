"""Tasks that end badly once, and whose messages are of every kind."""

from __future__ import annotations

import os
import signal
import time

from celery.exceptions import Reject

from tests.live.apps.celery_app import *  # noqa: F403
from tests.live.apps.celery_app import app, signals

app.conf.accept_content = ["json", "pickle"]


class Parcel:
    """A class of the user's, in a pickled message."""

    def __init__(self, weight: int) -> None:
        self.weight = weight


@app.task
def once(name: str, how: str, what: Parcel | str | None = None) -> int:
    """Ends badly the first time."""
    if signals.set(f"once:{name}", 1, nx=True):
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "vanish":
            os._exit(0)
        if how == "hang":
            time.sleep(15)
        if how == "reject":
            raise Reject(name)
        raise ValueError(name)
    return what.weight * 2 if isinstance(what, Parcel) else 0
