"""The ASGI application: which endpoints there are, and through which layers a request goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from jobmon import settings as configuration
from jobmon.history import database
from jobmon.history.read import HistoryReader
from jobmon.history.schema import tables
from jobmon.metrics.process import Activity
from jobmon.server import probes
from jobmon.server.boundary import Boundary
from jobmon.server.commands import Commands
from jobmon.server.dispatch import Dispatch, not_found
from jobmon.server.endpoints import Action, Endpoint
from jobmon.server.health import Health
from jobmon.server.hosts import Hosts
from jobmon.server.late import Late
from jobmon.server.layers import layers
from jobmon.server.life import Awakening, Life
from jobmon.server.meter import Meter
from jobmon.server.metrics import Exposition
from jobmon.server.migration import Migration
from jobmon.server.proxies import Proxies
from jobmon.server.responses import Style
from jobmon.server.schedules import Schedules
from jobmon.server.sizes import SizeLimit
from jobmon.server.stats import Stats
from jobmon.server.work import Work
from jobmon.server.workers import Workers
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.reader import Reader

_STATEMENT_SECONDS: Final = 10.0
"""Longest that the database may take for one statement of a request."""


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
    meter = Meter(settings) if settings.rate_limiting.enabled else None
    stack = layers(settings, meter)
    client = connection.connect(settings)
    reader = Reader(client, settings)
    migration = migration or Migration(settings)
    engine = database.connect(settings, statement_seconds=_STATEMENT_SECONDS)
    history = HistoryReader(engine, tables(settings.database.table_prefix))
    health = Health(settings, migration)
    activity = Activity()
    exposition = Exposition(reader, settings, activity, health)
    work = Work(settings, migration, scheduled=scheduled)
    stats = Stats(reader, history, migration, settings)
    table = endpoints(settings, reader, stats, health, exposition, migration)

    def end() -> None:
        work.stop()
        if meter is not None:
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
    """Put endpoints behind the layers: host, size, then those of ``middleware``, then routes."""
    routes = [Route(endpoint.path, Dispatch(endpoint)) for endpoint in table]
    outermost = [
        Middleware(Boundary, routes=routes, activity=activity),
        Middleware(Proxies, settings=settings),
        Middleware(Hosts, settings=settings),
        Middleware(SizeLimit),
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


def endpoints(
    settings: Settings,
    reader: Reader,
    stats: Stats,
    health: Health,
    exposition: Exposition,
    migration: Migration,
) -> list[Endpoint]:
    """Every endpoint. The first whose path matches answers."""
    commands = Commands(reader, settings)
    schedules = Schedules(reader)
    workers = Workers(reader)
    late = Late(reader, settings)
    base = f"/{settings.prefix}"

    def status(path: str, action: Action) -> Endpoint:
        return Endpoint(base + path, Style.STATUS, {"GET": action})

    return [
        status("/stats", Action(stats.queues, "read")),
        Endpoint(
            f"{base}/health",
            Style.SUCCESS,
            {"GET": Action(health.answer, "read")},
            failure="Failed to perform health check",
            anonymous=settings.health_check.public,
            quiet=True,
        ),
        status("/commands/running", Action(commands.running, "read")),
        status("/commands/finished", Action(commands.finished, "read")),
        status("/commands/{processId}/jobs", Action(commands.jobs, "read")),
        Endpoint(
            f"{base}/commands/{{processId}}",
            Style.SUCCESS,
            {"GET": Action(commands.run, "read")},
            failure="Failed to retrieve command",
        ),
        Endpoint(
            f"{base}/jobs/late",
            Style.SUCCESS,
            {"GET": Action(late.all, "read")},
            failure="Failed to retrieve late jobs",
        ),
        Endpoint(
            f"{base}/schedules",
            Style.SUCCESS,
            {"GET": Action(schedules.all, "read")},
            failure="Failed to retrieve schedules",
        ),
        Endpoint(
            f"{base}/workers",
            Style.SUCCESS,
            {"GET": Action(workers.all, "read")},
            failure="Failed to retrieve workers",
        ),
        *(
            Endpoint(path, Style.SUCCESS, {"GET": Action(probe, None, cost=0)}, quiet=True)
            for path, probe in zip(probes.PATHS, (probes.alive, migration.ready), strict=True)
        ),
        *(
            Endpoint(
                path,
                Style.SUCCESS,
                {"GET": Action(handler, "metrics", cost=0)},
                anonymous=settings.metrics.public,
                quiet=True,
            )
            for path, handler in (
                ("/metrics", exposition.shared),
                ("/metrics/self", exposition.own),
            )
        ),
    ]
