"""Webhooks: each event posted as JSON to an address of the configuration, signed."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

import jobmon
from jobmon.anomaly import SEVERITIES
from jobmon.publish.outbound import Outbound
from jobmon.publish.signature import HEADER, sign
from jobmon.publish.sink import NotDeliveredError

if TYPE_CHECKING:
    from jobmon.anomaly import PerformanceAnomalyDetected
    from jobmon.settings import Webhook

_HASH_DIGITS: Final = 12
_GONE: Final = 410
_LATER: Final = frozenset({429, 503})


class WebhookSink:
    """One of them."""

    def __init__(self, webhook: Webhook, outbound: Outbound) -> None:
        """Make one.

        Args:
            webhook: Of the setting ``webhooks``.
            outbound: The way out.
        """
        self._webhook = webhook
        self._outbound = outbound
        digest = hashlib.sha256(webhook.url.encode()).hexdigest()
        self.name: Final = f"webhook:{digest[:_HASH_DIGITS]}"
        self._least = SEVERITIES.index(webhook.min_severity)

    def wants(self, event: PerformanceAnomalyDetected) -> bool:
        """Whether it is severe enough, and of one of the types."""
        types = self._webhook.types
        is_severe = SEVERITIES.index(event.anomaly_severity) >= self._least
        return is_severe and (not types or event.anomaly_type in types)

    def deliver(self, event: PerformanceAnomalyDetected, body: str) -> None:
        """POST it. Two attempts at one event differ in the moment of the signature alone."""
        content = body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"jobmon/{jobmon.__version__}",
            "X-Jobmon-Event": f"anomaly.{event.state}",
            "X-Jobmon-Delivery": event.id,
        }
        if self._webhook.secret is not None:
            headers[HEADER] = sign(self._webhook.secret, content, int(time.time()))
        answer = self._outbound.post(self._webhook.url, headers, content)
        status = answer.status
        if 200 <= status < 300:
            return
        what = "; redirects are not followed" if 300 <= status < 400 else ""
        raise NotDeliveredError(
            f"answered {status}{what}",
            is_final=status == _GONE,
            retry_after_seconds=answer.retry_after_seconds if status in _LATER else 0.0,
        )
