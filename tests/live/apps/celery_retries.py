"""Tasks that end badly once, on the broker and queues of ``TEST_CONF`` and ``TEST_QUEUES``."""

from __future__ import annotations

from tests.live.apps.celery_canvas import *  # noqa: F403
from tests.live.apps.celery_messages import *  # noqa: F403
