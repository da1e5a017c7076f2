"""What leaves the server: JSON in its envelope, errors, times.

The specification mixes three envelopes; each endpoint keeps its own, also for its errors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter
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
    HTTPStatus.CONFLICT: "Conflict.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Payload too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Unsupported media type.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The given data was invalid.",
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
    HTTPStatus.CONFLICT: "Conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Payload Too Large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Unsupported Media Type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Entity",
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
    BARE = "bare"
    """The data itself; errors are those of ``STATUS``."""


class JSON(Response):
    """JSON, encoded already."""

    media_type = "application/json"


def encoded(data: object, adapter: TypeAdapter[Any]) -> bytes:
    """Compact JSON without escapes; what no UTF-8 can hold (a lone surrogate) becomes ``?``."""
    try:
        return adapter.dump_json(data, by_alias=True, warnings=False)
    except ValueError:
        plain = adapter.dump_python(data, mode="json", by_alias=True, warnings=False)
        return _dumped(plain)


def enveloped(style: Style, data: bytes | None, *, succeeded: bool = True) -> bytes:
    """Encoded data in the endpoint's envelope; None for an envelope without any."""
    if style is Style.SUCCESS:
        head = b'{"success":true' if succeeded else b'{"success":false'
    elif style is Style.STATUS:
        head = b'{"status":"success"'
    else:
        return data or b"{}"
    return head + b"}" if data is None else b'%b,"data":%b}' % (head, data)


def sentence(text: str) -> Response:
    """A sentence in style ``STATUS``."""
    return JSON(_dumped({"status": "success", "message": text}))


def error(
    style: Style,
    status: HTTPStatus,
    *,
    message: str = "",
    errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in the endpoint's envelope: fixed texts only, never what an exception says.

    Args:
        style: The endpoint's, ``SUCCESS`` where no endpoint is known.
        status: One of those the API has.
        message: Instead of the usual text of that status.
        errors: Sentences by parameter.
        headers: More headers.
    """
    message = message or _MESSAGES[status]
    if style is Style.SUCCESS:
        body: dict[str, object] = {"success": False, "message": message, "error": _NAMES[status]}
    else:
        body = {"status": "error", "message": message}
    if errors:
        body["errors"] = errors
    return JSON(_dumped(body), status_code=status, headers=headers)


def invalid(style: Style, errors: Mapping[str, Sequence[str]]) -> Response:
    """Parameters that are not allowed: the first sentence, and how many more there are."""
    sentences = [sentence for some in errors.values() for sentence in some]
    more = len(sentences) - 1
    message = sentences[0]
    if more:
        message += f" (and {more} more error{'' if more == 1 else 's'})"
    return error(style, HTTPStatus.UNPROCESSABLE_ENTITY, message=message, errors=errors)


def unavailable(style: Style) -> Response:
    """The store cannot be reached now."""
    wait = {"retry-after": str(RETRY_AFTER_SECONDS)}
    return error(style, HTTPStatus.SERVICE_UNAVAILABLE, headers=wait)


def timestamp(moment: datetime | float) -> str:
    """``2025-08-03T12:00:00Z``, of a moment or of Unix seconds."""
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(moment: datetime | float | None) -> str | None:
    """As :func:`timestamp`; None for a time that is unknown or is none."""
    try:
        return timestamp(moment) if moment is not None else None
    except (ValueError, OverflowError, OSError):
        return None


def date_time(moment: datetime | float | None) -> str | None:
    """``2025-08-03 12:00:00``, in UTC; None for a time that is unknown or is none."""
    try:
        return _utc(moment).strftime("%Y-%m-%d %H:%M:%S") if moment is not None else None
    except (ValueError, OverflowError, OSError):
        return None


def _utc(moment: datetime | float) -> datetime:
    if isinstance(moment, datetime):
        return moment.astimezone(UTC)
    return datetime.fromtimestamp(math.floor(moment), UTC)


def _dumped(content: object) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
