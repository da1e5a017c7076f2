"""Alerts sent straight to Alertmanager: the state of things again and again, not events.

Alertmanager takes an alert for over when it has not heard of it for some time, so that a server
that died leaves nothing behind. It knows an alert by its labels: they are the same in all sends,
whatever becomes of the anomaly, and whoever sends. Numbers are in the annotations.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit

import jobmon
from jobmon.inert import inert
from jobmon.publish.bounded import Call
from jobmon.publish.outbound import Outbound
from jobmon.publish.sink import NotDeliveredError
from jobmon.store.anomalies import ShownAnomalies
from jobmon.store.chunks import chunks
from jobmon.store.clock import now_us
from jobmon.store.deliveries import DeliveryCounts
from jobmon.store.series import label

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings
    from jobmon.store.anomalies import ShownAnomaly

AGAIN_SECONDS: Final = 60.0
SOON_SECONDS: Final = 5.0
"""After which what was not taken is sent again."""
HOLDS_SECONDS: Final = 240.0
"""Without a further send, for which an alert goes on."""
OVER_SECONDS: Final = 900.0
"""For which the end of one is repeated."""
_PATH: Final = "/api/v2/alerts"
_AT_ONCE: Final = 100
"""Alerts in one request."""
_LOG_EVERY_SECONDS: Final = 600.0

_log: Final = logging.getLogger("jobmon.publish")


class _Alert(NamedTuple):
    name: str
    severity: str


_ALERTS: Final[dict[str, _Alert]] = {
    "performance_degradation": _Alert("JobmonCommandSlow", "warning"),
    "performance_improvement": _Alert("JobmonCommandSuspiciouslyFast", "warning"),
    "workload_spike": _Alert("JobmonCommandJobCountUnusual", "warning"),
    "workload_drop": _Alert("JobmonCommandJobCountUnusual", "warning"),
    "failure_rate_spike": _Alert("JobmonCommandFailureRatioAboveBaseline", "warning"),
    "missed_execution": _Alert("JobmonCommandMissed", "critical"),
    "overdue_run": _Alert("JobmonCommandStillRunningTooLong", "warning"),
}
"""As the rules call them, with the severity that they have there: one that followed the anomaly's
would make another alert of it when it gets worse."""
_ANY: Final = _Alert("JobmonAnomaly", "warning")
_NOT_SENT: Final = frozenset({"failure_rate_drop"})
"""Good news."""


class Sent(NamedTuple):
    """What became of the alerts of one round."""

    success: int = 0
    error: int = 0
    dropped: int = 0


class Alertmanager:
    """Sends to every peer, each for itself. Called again and again by the server that leads."""

    def __init__(
        self, client: redis.Redis, settings: Settings, again_seconds: float = AGAIN_SECONDS
    ) -> None:
        """Make one; nothing is sent yet.

        Args:
            client: Of the store, which tells what is open.
            settings: ``alertmanager``, ``public_url`` and ``prefix``.
            again_seconds: Between two rounds in which nothing is new.
        """
        self._redis = client
        self._settings = settings
        self._shown = ShownAnomalies(client, settings)
        self._counts = DeliveryCounts(client, settings)
        self._is_shown = False
        token = settings.alertmanager.bearer_token
        self._peers = [_Peer(url, token, again_seconds) for url in settings.alertmanager.urls]

    def turn(self) -> None:
        """Send what is new at once, and everything once a minute.

        Nobody is waited for: a peer that does not answer is passed over until it has.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        for place, peer in enumerate(self._peers):
            sent = peer.done()
            # Shown from 0 on, so that `increase()` sees the first one.
            if any(sent) or not self._is_shown:
                self._counts.alerts(place, sent._asdict())
        self._is_shown = True
        shown = self._shown.read().values()
        now = now_us(self._redis) / 1_000_000
        alerts = current(shown, now, self._settings)
        for peer in self._peers:
            peer.tell(alerts, now)


class Alert(NamedTuple):
    """One as Alertmanager takes it, but for the end of one that goes on."""

    labels: dict[str, str]
    starts_at: float
    """Unix seconds; the same whoever sends it."""
    ends_at: float | None
    """None: it goes on."""
    annotations: dict[str, str]
    page: str | None

    @property
    def news(self) -> tuple[Any, ...]:
        """By which it is told whether Alertmanager has heard of this."""
        return self[:3]

    def to_dict(self, now: float) -> dict[str, Any]:
        """Its body, as it is sent now."""
        ends_at = now + HOLDS_SECONDS if self.ends_at is None else self.ends_at
        return {
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": _moment(self.starts_at),
            "endsAt": _moment(ends_at),
            **({"generatorURL": self.page} if self.page else {}),
        }


def current(shown: Iterable[ShownAnomaly], now: float, settings: Settings) -> list[Alert]:
    """Alerts that go on, or were over so lately that it is repeated.

    Anomalies that have the same labels are one alert: it goes on while one of them does.

    Args:
        shown: Incidents.
        now: Unix seconds.
        settings: ``alertmanager``, ``public_url`` and ``prefix``.
    """
    found: dict[tuple[tuple[str, str], ...], list[ShownAnomaly]] = {}
    for one in shown:
        over = one.resolved_at
        if one.signal not in _NOT_SENT and (over is None or now - over < OVER_SECONDS):
            found.setdefault(tuple(_labels(one).items()), []).append(one)
    alerts: list[Alert] = []
    for labels, same in sorted(found.items()):
        going_on = [one for one in same if one.resolved_at is None]
        chosen = going_on or same
        told, own = max(chosen, key=lambda one: one.opened_at), dict(labels)
        alerts.append(
            Alert(
                labels=own,
                starts_at=min(one.opened_at for one in chosen),
                ends_at=None if going_on else max(one.resolved_at or 0.0 for one in same),
                annotations=_annotations(told, own["alertname"], settings),
                page=_page(told, settings),
            )
        )
    return alerts


def _labels(one: ShownAnomaly) -> dict[str, str]:
    alert = _ALERTS.get(one.signal, _ANY)
    # As the series have them: a silence for the rules' alert is one for this.
    labels = {
        "alertname": alert.name,
        "app": one.app,
        "command": label(one.command).decode(),
        "severity": alert.severity,
        "origin": "learned",
    }
    if alert is _ANY:
        labels |= {"scope": "command", "name": labels["command"], "signal": one.signal}
    return labels


def _annotations(one: ShownAnomaly, alert: str, settings: Settings) -> dict[str, str]:
    runbooks = settings.alertmanager.runbook_url
    found = {
        "summary": one.summary,
        "description": f"{one.signal} of {inert(one.command)} ({one.app}, {one.environment}), "
        f"severity {one.severity}, {one.ratio:.3g} times what is usual.",
        "runbook_url": f"{runbooks}/{alert}.md" if runbooks else "",
        "dashboard_url": _page(one, settings) or "",
        "owner": one.owner or "",
    }
    return {name: value for name, value in found.items() if value}


def _page(one: ShownAnomaly, settings: Settings) -> str | None:
    if settings.public_url is None:
        return None
    asked = urlencode({"command": one.command}, quote_via=quote)
    return f"{settings.public_url}/{settings.prefix}/anomalies?{asked}"


def _moment(at: float) -> str:
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


class _Peer:
    """One Alertmanager."""

    def __init__(self, url: str, token: str | None, again_seconds: float) -> None:
        self._url, authorization = _address(url, token)
        # Who names an Alertmanager of the own network means it.
        self._outbound = Outbound(allow_private=True)
        self._again_seconds = again_seconds
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"jobmon/{jobmon.__version__}",
            **({"Authorization": authorization} if authorization else {}),
        }
        self._call: Call[Sent] | None = None
        self._told: list[tuple[Any, ...]] = []
        self._again_at = 0.0
        self._log_at = 0.0

    def done(self) -> Sent:
        """What has become of what was sent since this was asked last."""
        if self._call is None or not self._call.has_ended():
            return Sent()
        call, self._call = self._call, None
        self._again_at = time.monotonic() + SOON_SECONDS
        sent = call.result(0)
        if not sent.error:
            self._again_at = time.monotonic() + self._again_seconds
        return sent

    def tell(self, alerts: Sequence[Alert], now: float) -> None:
        """Send them if that is due, or if there is news."""
        news = [one.news for one in alerts]
        is_due = bool(alerts) and time.monotonic() >= self._again_at
        if self._call is None and (is_due or any(one not in self._told for one in news)):
            bodies = [one.to_dict(now) for one in alerts]
            self._call = Call(lambda: self._send(bodies), "jobmon-alertmanager")
            self._told = news

    def _send(self, alerts: Sequence[dict[str, Any]]) -> Sent:
        sent = Sent()
        for some in chunks(alerts, _AT_ONCE):
            body = json.dumps(list(some)).encode()
            try:
                status = self._outbound.post(self._url, self._headers, body).status
            except NotDeliveredError as error:
                self._say(str(error))
                left = len(alerts) - sum(sent)
                return sent._replace(error=sent.error + left)
            if status < 300:
                sent = sent._replace(success=sent.success + len(some))
                continue
            self._say(f"answered {status}")
            if status < 500:
                sent = sent._replace(dropped=sent.dropped + len(some))
            else:
                sent = sent._replace(error=sent.error + len(some))
        return sent

    def _say(self, reason: str) -> None:
        now = time.monotonic()
        if now >= self._log_at:
            self._log_at = now + _LOG_EVERY_SECONDS
            _log.warning("an Alertmanager was not told of all alerts: %s", inert(reason))


def _address(url: str, token: str | None) -> tuple[str, str | None]:
    """Where to post, and the header that says who does."""
    parts = urlsplit(url)
    _, _, host = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=host, path=parts.path.rstrip("/") + _PATH).geturl()
    if parts.username is None:
        return bare, token and f"Bearer {token}"
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return bare, f"Basic {base64.b64encode(user.encode()).decode()}"
