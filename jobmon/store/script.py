"""A Lua script of ours, called by its digest and sent again where the server lost it."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis


def read(name: str) -> Script:
    """The script of a file beside this one."""
    return Script(Path(__file__).with_name(name).read_text("utf-8"))


class Script:
    """Lua that the server keeps once it has seen it."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self._digest: Final = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, key_count: int, keys_and_arguments: Sequence[Any]) -> Any:
        """Call it.

        Raises:
            redis.RedisError: The server could not be asked, or refused.
        """
        server: Any = client
        try:
            return server.execute_command("EVALSHA", self._digest, key_count, *keys_and_arguments)
        except exceptions.NoScriptError:
            # After a restart, a flush or a failover the server no longer knows the script.
            return server.execute_command("EVAL", self.text, key_count, *keys_and_arguments)
