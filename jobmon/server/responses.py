"""What leaves the server: the two JSON styles, their errors, times and numbers.

The specification mixes two envelopes; each endpoint keeps its own, also for its errors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Final, cast

from starlette.responses import Response

RETRY_AFTER_SECONDS: Final = 5
"""What a client is told to wait while the store is unreachable."""

_MESSAGES: Final = {
    HTTPStatus.BAD_REQUEST: "Bad request.",
    HTTPStatus.UNAUTHORIZED: "Unauthenticated.",
    HTTPStatus.FORBIDDEN: "This action is unauthorized.",
    HTTPStatus.NOT_FOUND: "Not found.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Method not allowed.",
    HTTPStatus.REQUEST_TIMEOUT: "Request timeout.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Payload too large.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too Many Attempts.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal server error",
    HTTPStatus.SERVICE_UNAVAILABLE: "Service unavailable.",
}
_NAMES: Final = {
    HTTPStatus.BAD_REQUEST: "Bad Request",
    HTTPStatus.UNAUTHORIZED: "Unauthorized",
    HTTPStatus.FORBIDDEN: "Forbidden",
    HTTPStatus.NOT_FOUND: "Not Found",
    HTTPStatus.METHOD_NOT_ALLOWED: "Method Not Allowed",
    HTTPStatus.REQUEST_TIMEOUT: "Request Timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Payload Too Large",
    HTTPStatus.TOO_MANY_REQUESTS: "Too Many Requests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal server error",
    HTTPStatus.SERVICE_UNAVAILABLE: "Service Unavailable",
}


class Style(Enum):
    """Envelope of an endpoint's answers."""

    SUCCESS = "success"
    """``{"success":true,"data":…}``; every endpoint that the specification does not know."""
    STATUS = "status"
    """``{"status":"success","data":…}``."""


class JSON(Response):
    """Compact JSON, unescaped, without NaN or infinity, which become 0."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Encode; what no UTF-8 can hold (a lone surrogate) becomes ``?``."""
        try:
            text = _dump(content)
        except ValueError:
            text = _dump(_finite(content))
        return text.encode("utf-8", "replace")


def ok(style: Style, data: object, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with data in the endpoint's envelope."""
    if style is Style.SUCCESS:
        return JSON({"success": True, "data": data}, headers=headers)
    return JSON({"status": "success", "data": data}, headers=headers)


def error(
    style: Style,
    status: HTTPStatus,
    *,
    message: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in the endpoint's envelope: fixed texts only, never what an exception says.

    Args:
        style: The endpoint's, ``SUCCESS`` where no endpoint is known.
        status: One of those the API has.
        message: Instead of the usual text of that status.
        headers: More headers.
    """
    message = message or _MESSAGES[status]
    if style is Style.SUCCESS:
        body: dict[str, object] = {"success": False, "message": message, "error": _NAMES[status]}
    else:
        body = {"status": "error", "message": message}
    return JSON(body, status_code=status, headers=headers)


def unavailable(style: Style) -> Response:
    """The store cannot be reached now."""
    wait = {"retry-after": str(RETRY_AFTER_SECONDS)}
    return error(style, HTTPStatus.SERVICE_UNAVAILABLE, headers=wait)


def timestamp(seconds: float) -> str:
    """``2025-08-03T12:00:00Z``."""
    return _utc(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(seconds: float | None) -> str | None:
    """As :func:`timestamp`; None for a time that is unknown or is none."""
    try:
        return timestamp(seconds) if seconds is not None else None
    except (ValueError, OverflowError, OSError):
        return None


def date_time(seconds: float | None) -> str | None:
    """``2025-08-03 12:00:00``, in UTC; None for a time that is unknown or is none."""
    if seconds is None:
        return None
    try:
        return _utc(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return None


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(math.floor(seconds), UTC)


def _dump(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else 0
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in cast("dict[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in cast("list[object]", value)]
    return value
