"""``openapi.json`` and ``docs``: the API described for programs and for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from jobmon.server import reference_page
from jobmon.server.endpoints import Endpoint
from jobmon.server.openapi import document
from jobmon.server.responses import JSON
from jobmon.settings import Settings

_BASES: Final = 8
"""Mounts whose documents are kept."""
_POLICY: Final = (
    f"default-src 'none'; style-src '{reference_page.STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class _Written(NamedTuple):
    document: bytes
    page: bytes
    etag: str


class Reference:
    """Handlers of both."""

    def __init__(self, table: Sequence[Endpoint], settings: Settings) -> None:
        """Make them.

        Args:
            table: Every endpoint, read at the first request.
            settings: ``prefix``, and ``public_url``, the address that paths are below.
        """
        self._table = table
        self._prefix = settings.prefix
        self._public_url = settings.public_url
        self._written = lru_cache(_BASES)(self._write)

    def document(self, request: Request) -> Response:
        """The OpenAPI document."""
        written = self._written(self._base(request))
        return _unless_known(request, JSON(written.document), f'"{written.etag}"')

    def page(self, request: Request) -> Response:
        """The same as a page of HTML, without a script."""
        written = self._written(self._base(request))
        page = Response(written.page, media_type="text/html")
        page.headers["content-security-policy"] = _POLICY
        page.headers["referrer-policy"] = "no-referrer"
        return _unless_known(request, page, f'"{written.etag}-page"')

    def _base(self, request: Request) -> str:
        return self._public_url or request.scope.get("root_path", "")

    def _write(self, base: str) -> _Written:
        described = document(self._table, self._prefix, base)
        written = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
        etag = hashlib.sha256(written).hexdigest()[:32]
        return _Written(written, reference_page.page(described).encode(), etag)


def _unless_known(request: Request, answer: Response, etag: str) -> Response:
    known = request.headers.get("if-none-match", "")
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if known == "*" or etag in (one.strip().removeprefix("W/") for one in known.split(",")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    answer.headers.update(headers)
    return answer
