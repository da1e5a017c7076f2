"""What both clients do alike: requests written, responses read. Neither sends nor waits."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx

from jobmon.client.errors import refused, unexpected, unreachable
from jobmon.client.operations import Operation

T = TypeVar("T")

_VARIABLE: Final = re.compile(r"\{(\w+)\}")


class Exchange:
    """One server, and who asks it."""

    def __init__(
        self, base_url: str, prefix: str, token: str | None, user: tuple[str, str] | None
    ) -> None:
        if httpx.URL(base_url).scheme not in ("http", "https"):
            raise ValueError("base_url must begin with http:// or https://")
        if token is not None and user is not None:
            raise ValueError("give a token or a user, not both")
        self._base = base_url.rstrip("/")
        self._prefix = prefix.strip("/")
        self._headers: dict[str, str] = {}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        if user is not None:
            pair = base64.b64encode(":".join(user).encode()).decode()
            self._headers["authorization"] = f"Basic {pair}"

    def request(
        self,
        http: httpx.Client | httpx.AsyncClient,
        operation: Operation[Any],
        values: Mapping[str, Any],
    ) -> httpx.Request:
        """What asks for an operation; of the values, None is left out."""

        def filled(variable: re.Match[str]) -> str:
            # Dots alone would be a step up the path.
            return quote(str(values[variable[1]]), safe="").replace(".", "%2E")

        path = _VARIABLE.sub(filled, operation.path)
        below = path if path.startswith("/") else f"/{self._prefix}/{path}"
        in_path = set(_VARIABLE.findall(operation.path))
        others = {
            name: value
            for name, value in values.items()
            if name not in in_path and value is not None
        }
        options: dict[str, Any] = {"json" if operation.has_body else "params": others}
        if operation.longest_seconds is not None:
            own = http.timeout
            read = None if own.read is None else max(own.read, operation.longest_seconds)
            options["timeout"] = httpx.Timeout(own.connect, read=read, write=own.write)
        url = f"{self._base}{below}"
        return http.build_request(operation.method, url, headers=self._headers, **options)

    def read(self, operation: Operation[T], outcome: httpx.Response | httpx.RequestError) -> T:
        """The answer.

        Raises:
            ApiError: There is none.
        """
        if isinstance(outcome, httpx.RequestError):
            raise unreachable(outcome) from outcome
        if outcome.is_error and not (operation.unwell and outcome.status_code == 503):
            raise refused(outcome)
        try:
            return operation.shape.read(outcome)
        except ValueError as reason:
            if outcome.is_error:
                raise refused(outcome) from None
            raise unexpected(outcome) from reason
