"""The ASGI application: which endpoints there are, and through which layers a request goes."""

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
from jobmon.retry.retrier import Retrier
from jobmon.server import probes
from jobmon.server.auth import Authentication
from jobmon.server.body import BodyLimit
from jobmon.server.boundary import Boundary
from jobmon.server.commands import Commands
from jobmon.server.dispatch import Dispatch, not_found
from jobmon.server.endpoints import Action, Endpoint
from jobmon.server.failed import FailedJobs
from jobmon.server.health import Health
from jobmon.server.hosts import Hosts
from jobmon.server.late import Late
from jobmon.server.metrics import Exposition
from jobmon.server.migration import Migration
from jobmon.server.proxies import Proxies
from jobmon.server.responses import Style
from jobmon.server.schedules import Schedules
from jobmon.server.stats import Stats
from jobmon.server.work import Work
from jobmon.server.workers import Workers
from jobmon.settings import Settings, SettingsError
from jobmon.store import connection
from jobmon.store.reader import Reader

_TOKEN: Final = "auth:token"  # noqa: S105 name of a layer
_API: Final = "api"


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
    engine = database.connect(settings)
    history = HistoryReader(engine, tables(settings.database.table_prefix))
    health = Health(settings, migration)
    activity = Activity()
    exposition = Exposition(reader, settings, activity, health)
    work = Work(settings, migration, scheduled=scheduled)
    stats = Stats(reader, history, migration, settings)
    failed = FailedJobs(Retrier(client, engine, settings), migration)
    table = endpoints(settings, reader, stats, health, exposition, migration, failed)

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


def endpoints(
    settings: Settings,
    reader: Reader,
    stats: Stats,
    health: Health,
    exposition: Exposition,
    migration: Migration,
    failed: FailedJobs,
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
            f"{base}/jobs/failed/{{id}}/retry",
            Style.STATUS,
            {"POST": Action(failed.retry, "operate")},
        ),
        Endpoint(
            f"{base}/jobs/failed/{{id}}",
            Style.STATUS,
            {"DELETE": Action(failed.delete, "operate")},
        ),
        Endpoint(
            f"{base}/commands/{{processId}}/retry-failed",
            Style.STATUS,
            {
                "GET": Action(failed.progress, "read"),
                "POST": Action(failed.retry_run, "operate"),
            },
        ),
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
            Endpoint(path, Style.SUCCESS, {"GET": Action(probe, None)}, quiet=True)
            for path, probe in zip(probes.PATHS, (probes.alive, migration.ready), strict=True)
        ),
        *(
            Endpoint(
                path,
                Style.SUCCESS,
                {"GET": Action(handler, "metrics")},
                anonymous=settings.metrics.public,
                quiet=True,
            )
            for path, handler in (
                ("/metrics", exposition.shared),
                ("/metrics/self", exposition.own),
            )
        ),
    ]


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
