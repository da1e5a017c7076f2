"""Whoever sent a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from starlette.types import Scope

from jobmon.server.endpoints import Permission

GRANTS: Final[dict[Permission, frozenset[Permission]]] = {
    "read": frozenset({"read", "metrics"}),
    "operate": frozenset({"read", "operate", "metrics"}),
    "metrics": frozenset({"metrics"}),
}
"""What somebody of each scope may do; ``/metrics`` tells nothing that is hidden from a reader."""

_PRINCIPAL: Final = "jobmon.principal"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever sent a request."""

    name: str
    """The token's or the user's; empty for somebody unknown."""
    permissions: frozenset[Permission]
    is_ambient: bool = True
    """Whether a browser tells it by itself, and so for the pages of others too."""

    @classmethod
    def of(cls, name: str, scope: Permission, *, is_ambient: bool = True) -> Self:
        """Somebody with all that a scope grants."""
        return cls(name, GRANTS[scope], is_ambient)

    def may(self, permission: Permission) -> bool:
        """Whether the request may do this."""
        return permission in self.permissions


NOBODY: Final = Principal("", frozenset())


def principal_of(scope: Scope) -> Principal:
    """Whoever sent this request, as far as authentication has come."""
    found = scope.get(_PRINCIPAL)
    return found if isinstance(found, Principal) else NOBODY


def set_principal(scope: Scope, principal: Principal) -> None:
    """Keep who sent this request."""
    scope[_PRINCIPAL] = principal


def admit(scope: Scope, name: str, permission: Permission) -> None:
    """Let somebody in: for layers of your own that authenticate.

    Args:
        scope: The request's, before it is passed on.
        name: Who it is, for the log, the audit and the rate limit.
        permission: ``read``, ``operate`` or ``metrics``.
    """
    set_principal(scope, Principal.of(name, permission))
