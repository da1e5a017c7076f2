"""The nightly work."""

from __future__ import annotations

import os
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Nightly(BaseCommand):
    """Write invoices, then publish a job."""

    def handle(self, *args: Any, **options: Any) -> None:
        import redis
        from rq import Queue

        call_command("invoice", "march", currency="USD")
        queue = Queue("work", connection=redis.Redis.from_url(os.environ["TEST_URL"]))
        self.stdout.write(queue.enqueue(print).id)
