"""The ASGI application: the layers that a request goes through to its endpoint."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, cast

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp

from jobmon.history import database
from jobmon.history.read import HistoryReader
from jobmon.history.schema import tables
from jobmon.metrics.process import Activity
from jobmon.server.auth import Authentication
from jobmon.server.body import BodyLimit
from jobmon.server.boundary import Boundary
from jobmon.server.dispatch import Dispatch, not_found
from jobmon.server.endpoints import Endpoint
from jobmon.server.health import Health
from jobmon.server.hosts import Hosts
from jobmon.server.metrics import Exposition
from jobmon.server.migration import Migration
from jobmon.server.proxies import Proxies
from jobmon.server.routes import Sources, endpoints
from jobmon.server.work import Work
from jobmon.settings import Settings, SettingsError
from jobmon.store import connection
from jobmon.store.reader import Reader

_TOKEN: Final = "auth:token"  # noqa: S105 name of a layer
_API: Final = "api"
_STATEMENT_SECONDS: Final = 10.0
"""Longest that one question to the history may take."""


def create_app(
    settings: Settings, migration: Migration | None = None, *, scheduled: bool = True
) -> Starlette:
    """The server as one ASGI application.

    Args:
        settings: As :func:`jobmon.settings.load` gives them.
        migration: What has been attempted already; else it is while the server runs.
        scheduled: Whether to sync by itself.

    Raises:
        SettingsError: ``middleware`` and ``auth`` contradict each other, a layer of
            ``middleware`` cannot be imported, or the database's driver is not installed.
    """
    layers = _layers(settings)
    client = connection.connect(settings)
    reader = Reader(client, settings)
    migration = migration or Migration(settings)
    engine = database.connect(settings, statement_seconds=_STATEMENT_SECONDS)
    history = HistoryReader(engine, tables(settings.database.table_prefix))
    health = Health(settings, migration)
    activity = Activity()
    work = Work(settings, migration, scheduled=scheduled)
    exposition = Exposition(reader, settings, activity, health)
    table = endpoints(Sources(settings, reader, history, migration, health, exposition))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        work.start()
        yield
        await asyncio.to_thread(work.stop)
        client.close()
        engine.dispose()
        health.close()

    return assemble(table, settings, layers, activity, lifespan)


def assemble(
    table: Sequence[Endpoint],
    settings: Settings,
    layers: Sequence[Middleware],
    activity: Activity,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """Put endpoints behind the layers: host, size, then those of ``middleware``, then routes."""
    routes = [Route(endpoint.path, Dispatch(endpoint)) for endpoint in table]
    outermost = [
        Middleware(Boundary, routes=routes, activity=activity),
        Middleware(Proxies, settings=settings),
        Middleware(Hosts, settings=settings),
        Middleware(BodyLimit),
    ]
    app = Starlette(routes=routes, middleware=[*outermost, *layers], lifespan=lifespan)
    app.router.redirect_slashes = False
    app.router.default = not_found
    return app


def _layers(settings: Settings) -> list[Middleware]:
    """What ``middleware`` asks for, outermost first."""
    if settings.auth.tokens and _TOKEN not in settings.middleware:
        problem = f"middleware: auth.tokens is set, so it must hold {_TOKEN}"
        raise SettingsError([problem])
    authentication = Middleware(Authentication, settings=settings)
    layers: list[Middleware] = []
    for name in settings.middleware:
        if name == _TOKEN:
            layers.append(authentication)
        elif name != _API:
            layers.append(Middleware(_imported(name)))
    if _TOKEN not in settings.middleware:
        layers.append(authentication)
    return layers


def _imported(name: str) -> Callable[[ASGIApp], ASGIApp]:
    module, _, attribute = name.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        problem = f"middleware: {name} cannot be imported: {error}"
        raise SettingsError([problem]) from error
    if not callable(found):
        raise SettingsError([f"middleware: {name} is not callable"])
    return cast("Callable[[ASGIApp], ASGIApp]", found)
