"""What is raised where a server does not answer as asked."""

# ruff: noqa: N818  named for what the server said, as in HTTP

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx
from pydantic import TypeAdapter, ValidationError

from jobmon.errors import JobmonError

_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class ApiError(JobmonError):
    """The server did not answer as asked; kinds of it tell why."""

    def __init__(
        self,
        message: str,
        request: str = "",
        status: int | None = None,
        errors: dict[str, list[str]] | None = None,
        request_id: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        # All of them, so that it can be pickled.
        super().__init__(message, request, status, errors, request_id, retry_after_seconds)
        self.message = message
        """For people, as the server says it."""
        self.request = request
        """Method and path."""
        self.status = status
        """None: there was no answer."""
        self.errors = errors or {}
        """Sentences by parameter."""
        self.request_id = request_id
        """Under which the server's log has the rest."""
        self.retry_after_seconds = retry_after_seconds
        """When to ask again, if the server says so."""

    def __str__(self) -> str:
        said = self.message if self.status is None else f"{self.status} {self.message}"
        return f"{self.request}: {said}" if self.request else said


class Unreachable(ApiError):
    """No answer came; ``__cause__`` tells why."""


class UnexpectedAnswer(ApiError):
    """What came is no answer of this API: perhaps another address is meant, or a newer client."""


class Unauthorized(ApiError):
    """401: the server does not know who asks."""


class Forbidden(ApiError):
    """403: the scope does not allow it."""


class NotFound(ApiError):
    """404: there is none."""


class Conflict(ApiError):
    """409: it cannot be done with this one."""


class Invalid(ApiError):
    """422: parameters are not allowed; ``errors`` tells which."""


class TooManyRequests(ApiError):
    """429: more than one client may ask."""


class ServerError(ApiError):
    """500 and beyond: a defect, or something that the server needs is away."""


class Unavailable(ServerError):
    """503: something that the server needs is away; it may be back soon."""


_KINDS: Final[dict[int, type[ApiError]]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
}


@dataclass(frozen=True, slots=True)
class _Body:
    """What errors of both styles have."""

    message: str
    errors: dict[str, list[str]] | None = None


_body: Final = TypeAdapter(_Body)


def refused(response: httpx.Response) -> ApiError:
    """The error that a response is, whoever sent it: a proxy's has no body of ours."""
    try:
        body = _body.validate_json(response.content, extra="ignore")
    except ValidationError:
        body = _Body(response.reason_phrase)
    status = response.status_code
    default = ServerError if response.is_server_error else ApiError
    return _KINDS.get(status, default)(
        body.message,
        _named(response.request),
        status,
        body.errors,
        response.headers.get("x-request-id"),
        retry_after_seconds(response),
    )


def unexpected(response: httpx.Response) -> UnexpectedAnswer:
    """The error of a response that cannot be read."""
    kind = response.headers.get("content-type") or "no type"
    return UnexpectedAnswer(
        f"no answer of this API ({kind})",
        _named(response.request),
        response.status_code,
        request_id=response.headers.get("x-request-id"),
    )


def unreachable(reason: httpx.RequestError) -> Unreachable:
    """The error of a request that got no response."""
    where = reason.request.url.netloc.decode("ascii", "replace")
    return Unreachable(f"{where} does not answer: {reason}", _named(reason.request))


def retry_after_seconds(response: httpx.Response) -> int | None:
    """The header in seconds; None: it is absent, or a date."""
    given = response.headers.get("retry-after", "")
    return int(given) if _SECONDS.fullmatch(given) else None


def _named(request: httpx.Request) -> str:
    return f"{request.method} {request.url.path}"
