"""The audit: one line for each change that somebody asked for, and what came of it."""

from __future__ import annotations

import logging
from typing import Final

from starlette.types import Scope

from jobmon.inert import inert
from jobmon.server.endpoints import endpoint_of, request_id_of
from jobmon.server.origins import SAFE_METHODS
from jobmon.server.principal import principal_of

LOGGER: Final = "jobmon.audit"

_log: Final = logging.getLogger(LOGGER)


def is_change(scope: Scope) -> bool:
    """Whether a request asks an endpoint to change something."""
    endpoint = endpoint_of(scope)
    method = scope["method"]
    return method not in SAFE_METHODS and bool(endpoint and endpoint.action(method))


def record(scope: Scope, status: int) -> None:
    """Write the line: who, what, on whose behalf of the network, and the status of the answer.

    Args:
        scope: The request's, as it was left by those that answered it.
        status: Of the answer; 0 where none was sent.
    """
    endpoint = endpoint_of(scope)
    client = scope.get("client")
    targets: dict[str, object] = scope.get("path_params") or {}
    facts: dict[str, object] = {
        "who": inert(principal_of(scope).name),
        "method": scope["method"],
        "endpoint": endpoint.path if endpoint is not None else "",
        "target": inert(" ".join(str(value) for value in targets.values())),
        "status": status,
        "client": client[0] if client else "",
        "request_id": request_id_of(scope),
    }
    _log.info(
        "%(who)s: %(method)s %(endpoint)s of %(target)s: %(status)d, client %(client)s, "
        "request %(request_id)s",
        {name: value if value != "" else "-" for name, value in facts.items()},
        extra={"facts": facts},
    )
