"""What an endpoint is: a path, an envelope, and for each method a handler and a permission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter
from starlette.types import Scope

from jobmon.server.query import Query
from jobmon.server.responses import Style
from jobmon.server.threads import LONGEST_SECONDS
from jobmon.settings.parse import Scope as Permission

Handler: TypeAlias = Callable[..., object]
"""Called with the request, then with its query and its body where the action declares them. Gives
an instance of the declared answer, alone or in a :class:`Reply`, None where there is none, which is
a 404, or a response of its own.

A plain function runs in a thread and may wait for the store; a coroutine must not."""

_ENDPOINT: Final = "jobmon.endpoint"
_REQUEST_ID: Final = "jobmon.request_id"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with more than data."""

    data: object
    """None where the action declares no data."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    status: HTTPStatus = HTTPStatus.OK
    """From 400 on, style ``SUCCESS`` says so in its envelope."""


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence in place of data, for style ``STATUS``."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is no JSON of ours."""

    media_type: str


@dataclass(frozen=True)
class Action:
    """What one method of an endpoint does. Nothing is answered that is not declared here."""

    handler: Handler
    permission: Permission | None
    """None: everybody may, whatever they send as a token."""
    _: KW_ONLY
    summary: str
    """What it does, in a line."""
    answer: Any
    """Type of what the handler gives: dataclasses of ``jobmon.answers``, lists and unions of them,
    `Message`, None for an envelope without data, or `Text`."""
    query: type[Query] | None = None
    body: type[Query] | None = None
    """Of the request; it may be missing."""
    headers: Sequence[str] = ()
    """Names of headers beyond those that every answer has."""
    errors: Sequence[HTTPStatus] = ()
    """Statuses beyond those that follow from the rest."""
    not_found: str = ""
    """Message of a 404 in place of the usual one; braces hold parameters of the path."""
    unwell: bool = False
    """True: with 503 it answers as with 200, as far as it can."""
    cost: int = 1
    """Tokens of the rate limit that one request takes; 0: it is not limited."""
    longest_seconds: float = LONGEST_SECONDS
    """For which its answer is waited for."""

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Writes and describes what is answered."""
        return TypeAdapter(self.answer)

    @property
    def has_data(self) -> bool:
        """Whether the answer is data in JSON."""
        return not (self.answer is None or self.answer is Message or isinstance(self.answer, Text))


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
    tag: str = ""
    """Under which the document lists it."""
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
