"""The ASGI application: the layers that a request goes through to its endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from jobmon import settings as configuration
from jobmon.analysis.rounds import Rounds
from jobmon.history import database
from jobmon.history.read import HistoryReader
from jobmon.history.schema import tables
from jobmon.metrics.process import Activity
from jobmon.retry.retrier import Retrier
from jobmon.server.boundary import Boundary
from jobmon.server.crowd import Crowd
from jobmon.server.dispatch import Dispatch, not_found
from jobmon.server.endpoints import Endpoint
from jobmon.server.health import Health
from jobmon.server.hosts import Hosts
from jobmon.server.layers import layers
from jobmon.server.life import Awakening, Life
from jobmon.server.meter import Meter
from jobmon.server.metrics import Exposition
from jobmon.server.migration import Migration
from jobmon.server.proxies import Proxies
from jobmon.server.routes import Sources, endpoints
from jobmon.server.sizes import SizeLimit
from jobmon.server.work import Work
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.reader import Reader

_STATEMENT_SECONDS: Final = 10.0
"""Longest that one question to the history may take."""


def create_app(
    settings: Settings | None = None,
    migration: Migration | None = None,
    *,
    scheduled: bool = True,
) -> Starlette:
    """The server as one ASGI application, to be served or to be mounted in another.

    Args:
        settings: As :func:`jobmon.settings.load` gives them; those of the environment if not given.
        migration: What has been attempted already; else it is while the server runs.
        scheduled: Whether to sync by itself.

    Raises:
        SettingsError: ``middleware`` and ``auth`` contradict each other, a layer of
            ``middleware`` cannot be imported, or the database's driver is not installed.
    """
    settings = settings or configuration.load()
    meter = Meter(settings)
    stack = layers(settings, meter)
    client = connection.connect(settings)
    reader = Reader(client, settings)
    migration = migration or Migration(settings)
    engine = database.connect(settings, statement_seconds=_STATEMENT_SECONDS)
    history = HistoryReader(engine, tables(settings.database.table_prefix))
    health = Health(settings, migration)
    activity = Activity()
    rounds = Rounds(settings)
    work = Work(settings, migration, rounds, scheduled=scheduled)
    exposition = Exposition(reader, settings, activity, health)
    retrier = Retrier(client, engine, settings)
    table = endpoints(
        Sources(settings, reader, history, retrier, rounds, migration, health, exposition)
    )

    def end() -> None:
        work.stop()
        rounds.close()
        meter.close()
        client.close()
        engine.dispose()
        health.close()

    return assemble(table, settings, stack, activity, Life(work.start, end))


def assemble(
    table: Sequence[Endpoint],
    settings: Settings,
    stack: Sequence[Middleware],
    activity: Activity,
    life: Life | None = None,
) -> Starlette:
    """Put endpoints behind the layers: host, size, crowd, those of ``middleware``, then routes."""
    routes = [Route(endpoint.path, Dispatch(endpoint)) for endpoint in table]
    outermost = [
        Middleware(Boundary, routes=routes, activity=activity),
        Middleware(Proxies, settings=settings),
        Middleware(Hosts, settings=settings),
        Middleware(SizeLimit),
        Middleware(Crowd),
    ]
    innermost = [Middleware(Awakening, life=life)] if life is not None else []
    app = Starlette(
        routes=routes,
        middleware=[*outermost, *stack, *innermost],
        lifespan=life.lifespan if life is not None else None,
    )
    app.router.redirect_slashes = False
    app.router.default = not_found
    return app
