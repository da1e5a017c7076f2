"""What an endpoint is: a path, an envelope, and for each method a handler and a permission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from jobmon.server.responses import Style
from jobmon.settings.parse import Scope as Permission

Handler: TypeAlias = Callable[[Request], Response] | Callable[[Request], Awaitable[Response]]
"""A plain function runs in a thread and may wait for the store; a coroutine must not."""

_ENDPOINT: Final = "jobmon.endpoint"
_REQUEST_ID: Final = "jobmon.request_id"


@dataclass(frozen=True, slots=True)
class Action:
    """What one method of an endpoint does."""

    handler: Handler
    permission: Permission | None
    """None: everybody may, whatever they send as a token."""
    cost: int = 1
    """Tokens of the rate limit that one request takes; 0: it is not limited."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of the server."""

    path: str
    """With the prefix and braces around variable parts; also its name in metrics and logs."""
    style: Style
    actions: Mapping[str, Action]
    """By method; ``GET`` answers ``HEAD`` too."""
    failure: str = ""
    """Message of an unexpected error, style ``SUCCESS`` only."""
    anonymous: bool = False
    """True: a request without a token passes, as somebody without any permission."""
    quiet: bool = False
    """True: its requests are logged at level DEBUG, because a machine sends many."""

    def action(self, method: str) -> Action | None:
        """What to do for a method."""
        return self.actions.get("GET" if method == "HEAD" else method)

    @property
    def allow(self) -> str:
        """Value of the ``Allow`` header."""
        methods = set(self.actions) | ({"HEAD"} if "GET" in self.actions else set[str]())
        return ", ".join(sorted(methods))


def note(scope: Scope, endpoint: Endpoint | None, request_id: str) -> None:
    """Keep what the outermost layer found out about a request."""
    scope[_ENDPOINT] = endpoint
    scope[_REQUEST_ID] = request_id


def endpoint_of(scope: Scope) -> Endpoint | None:
    """The endpoint that a request is for, None where there is none."""
    found = scope.get(_ENDPOINT)
    return found if isinstance(found, Endpoint) else None


def style_of(scope: Scope) -> Style:
    """The envelope of whatever this request is answered with."""
    endpoint = endpoint_of(scope)
    return endpoint.style if endpoint is not None else Style.SUCCESS


def request_id_of(scope: Scope) -> str:
    """The id that the answer and the logs carry."""
    return str(scope.get(_REQUEST_ID, ""))
