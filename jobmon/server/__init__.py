"""Owns the HTTP side: the JSON API, health, probes and /metrics, as one ASGI application.

Called by ``jobmon serve`` and by whoever mounts :func:`jobmon.server.app.create_app`.
Must never import instrument or cli, nor write to the store.
"""
