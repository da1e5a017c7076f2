"""Owns the HTTP side: the JSON API, health, probes and /metrics, as one ASGI application.

Called by ``jobmon serve``, :mod:`jobmon.asgi` and whoever mounts what :func:`create_app` makes.
Must never import instrument or cli, nor spell what the store holds.
"""

from jobmon.server.app import create_app
from jobmon.server.principal import admit

__all__ = ["admit", "create_app"]
