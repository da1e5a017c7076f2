"""What ``rq worker -c`` reads: it instruments the worker, and names the server."""

from __future__ import annotations

import os

import jobmon

jobmon.instrument()

REDIS_URL = os.environ["TEST_URL"] + "/1"
