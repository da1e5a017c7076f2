"""Passwords: how they are kept, and a bounded way to look at one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final

from jobmon.errors import Unavailable
from jobmon.settings import Password
from jobmon.settings.access import MOST_SCRYPT_BYTES
from jobmon.settings.parse import Scope

LONGEST: Final = 256
"""Bytes of a password."""

# As OWASP asks for, with 16 MiB.
_COST: Final = 2**14
_BLOCK_SIZE: Final = 8
_PARALLEL: Final = 5
_KEY_BYTES: Final = 32
_KNOWN_SECONDS: Final = 300.0
"""How long a password that was right need not be looked at again."""
_MOST_WAITING: Final = 16
"""Passwords that wait to be looked at; the next one is sent away at once."""


class BusyError(Unavailable):
    """Too many passwords wait to be looked at."""


def keep(name: str, scope: Scope, password: bytes) -> Password:
    """A user with a new password, as ``auth.basic`` holds it."""
    salt = secrets.token_hex(16)
    user = Password(name, scope, _COST, _BLOCK_SIZE, _PARALLEL, salt, "")
    return user._replace(key=_key(user, password))


def written(user: Password) -> str:
    """A user as text, for ``auth.basic``."""
    return ":".join((user.name, user.scope, "scrypt", *map(str, user[2:5]), user.salt, user.key))


class Passwords:
    """Tells whose password it is.

    Looking takes some 100 ms on purpose: it is done in one thread, one after the other, and what
    was right is known for five minutes.
    """

    def __init__(self, users: Sequence[Password]) -> None:
        """Make it for at least one user."""
        self._users = tuple(users)
        # Its key is nobody's password; it costs what those of users cost.
        self._stranger = users[0]._replace(key=secrets.token_hex(_KEY_BYTES))
        self._secret = secrets.token_bytes(32)
        self._known: dict[str, tuple[bytes, float, Password]] = {}
        self._thread = ThreadPoolExecutor(1, "jobmon-passwords")
        self._waiting = 0

    def known(self, name: str, password: bytes) -> Password | None:
        """The user, if the same was right a short while ago."""
        found = self._known.get(name)
        if found is None or monotonic() > found[1]:
            return None
        return found[2] if hmac.compare_digest(found[0], self._mark(name, password)) else None

    async def look(self, name: str, password: bytes) -> Password | None:
        """The user, if it is theirs.

        Raises:
            BusyError: Too many others wait.
        """
        if self._waiting >= _MOST_WAITING:
            raise BusyError("too many passwords wait to be looked at")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self._find, name, password)
        finally:
            self._waiting -= 1
        if found is not None:
            mark = self._mark(name, password)
            self._known[name] = (mark, monotonic() + _KNOWN_SECONDS, found)
        return found

    def _find(self, name: str, password: bytes) -> Password | None:
        # A name that nobody has takes as long, so that the time tells nothing of names.
        for user in [user for user in self._users if user.name == name] or [self._stranger]:
            if hmac.compare_digest(_key(user, password), user.key):
                return user
        return None

    def _mark(self, name: str, password: bytes) -> bytes:
        return hmac.digest(self._secret, name.encode() + b"\0" + password, "sha256")


def _key(user: Password, password: bytes) -> str:
    return hashlib.scrypt(
        password,
        salt=bytes.fromhex(user.salt),
        n=user.cost,
        r=user.block_size,
        p=user.parallel,
        maxmem=2 * MOST_SCRYPT_BYTES,
        dklen=_KEY_BYTES,
    ).hex()
