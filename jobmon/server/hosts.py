"""Which requests are meant for this server: the ``Host`` allow-list against DNS rebinding."""

from __future__ import annotations

import logging
import re
import socket
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jobmon.inert import inert
from jobmon.server import probes
from jobmon.server.endpoints import endpoint_of, style_of
from jobmon.server.proxies import is_address
from jobmon.server.responses import error
from jobmon.settings import Settings

_log: Final = logging.getLogger("jobmon.server")
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#\s]+))(?::[0-9]{1,5})?")
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Hosts:
    """Answers 400 to a foreign or missing ``Host`` and to a path that cannot be decoded.

    An address is never foreign: a page that rebinds its name is still sent under that name, and
    Prometheus and Kubernetes ask each pod by its address. Probes, which tell nothing, may come
    under any name or none, as load balancers send them.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._allowed = allowed_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (self._is_ours(scope) and _decodes(scope)):
            answer = error(style_of(scope), HTTPStatus.BAD_REQUEST)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        endpoint = endpoint_of(scope)
        if endpoint is not None and endpoint.path in probes.PATHS:
            return True
        given = Headers(scope=scope).getlist("host")
        if len(given) == 1:
            name = host_name(given[0])
            if name in self._allowed or is_address(name):
                return True
        _log.info("refused a request for the host %s: not among allowed_hosts", inert(given))
        return False


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Names this server answers to besides every address, in lower case and without ports.

    Those of this machine are always among them: nobody else can own them, so a page that rebinds
    its own name cannot use them.
    """
    names = {"localhost", _plain(socket.gethostname())}
    names.update(_plain(name) for name in settings.allowed_hosts)
    if settings.public_url is not None:
        names.add(_plain(urlsplit(settings.public_url).hostname or ""))
    names.add(_plain(settings.listen.host))
    return frozenset(names - {""})


def host_name(header: str) -> str:
    """The name of a ``Host`` header without its port, or empty when it is malformed."""
    found = _HOST.fullmatch(header)
    return _plain(found.group(1) or found.group(2)) if found else ""


def _plain(name: str) -> str:
    return name.strip("[]").lower().removesuffix(".")


def _decodes(scope: Scope) -> bool:
    raw = scope.get("raw_path")
    if not isinstance(raw, bytes):
        return True
    if _BROKEN_ESCAPE.search(raw):
        return False
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return True
