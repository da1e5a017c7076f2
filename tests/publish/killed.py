"""A pass that is killed at a point: ``python -m tests.publish.killed POINT``.

Addresses and webhooks come from the environment, as settings.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from jobmon import settings as configuration
from jobmon.history import database
from jobmon.publish.deliveries import Deliveries
from jobmon.publish.publisher import Publisher
from jobmon.publish.stream import StreamSink
from jobmon.publish.webhooks import WebhookSink
from jobmon.store import connection
from jobmon.store.keys import PUBLISH
from jobmon.store.lease import Lease

POINTS: dict[str, tuple[type[Any], str]] = {
    "adopted": (Deliveries, "adopt"),
    "begun": (Deliveries, "begin"),
    "in the stream": (StreamSink, "deliver"),
    "posted": (WebhookSink, "deliver"),
    "marked": (Deliveries, "delivered"),
}
"""After which call the process dies."""


def main(point: str) -> None:
    """Publish until the point; ``none``: to the end."""
    if point in POINTS:
        owner, name = POINTS[point]
        setattr(owner, name, _deadly(getattr(owner, name)))
    settings = configuration.load()
    with connection.connect(settings) as client:
        token = None
        while token is None:
            token = Lease(client, settings, PUBLISH).acquire()
        publisher = Publisher(database.connect(settings), client, settings)
        while publisher.publish(token).delivered:
            pass


def _deadly(call: Any) -> Any:
    def called(*args: Any, **more: Any) -> Any:
        call(*args, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    return called


if __name__ == "__main__":
    main(*sys.argv[1:])
