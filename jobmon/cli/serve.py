"""``jobmon serve``: the JSON API, /metrics and the periodic work, until a signal ends it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import signal
import socket
import stat
import time
from collections.abc import Generator
from types import FrameType
from typing import Final, NoReturn

import uvicorn

from jobmon import settings as configuration
from jobmon.analysis.rounds import Rounds
from jobmon.cli import Exit
from jobmon.errors import JobmonError
from jobmon.server import logs
from jobmon.server.app import create_app
from jobmon.server.layers import is_guarded
from jobmon.server.migration import Migration
from jobmon.server.sizes import MOST_HEADER_BYTES
from jobmon.server.work import Work
from jobmon.settings import Listen, Settings, SettingsError

_STOP_SECONDS: Final = 10
"""How long open requests may take once a signal came."""
_KEEP_ALIVE_SECONDS: Final = 65
"""Longer than Prometheus waits between two scrapes, so that it keeps its connection."""
_FOREVER_SECONDS: Final = 86_400
_SOCKET_MODE: Final = 0o660

_log: Final = logging.getLogger("jobmon.serve")


class ServeError(JobmonError):
    """The server cannot listen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--listen", metavar="ADDRESS", help="host:port or unix:/path (default: setting listen)"
    )
    where.add_argument(
        "--no-http", action="store_true", help="the periodic work alone; listen nowhere"
    )
    parser.add_argument(
        "--no-schedule",
        action="store_true",
        help="do not sync by itself, as when jobmon sync is called by somebody else; failed jobs "
        "are copied all the same",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then finish open requests, and what is being copied.

    Returns:
        130 after SIGINT, 143 after SIGTERM, 1 when the server could not start.
    """
    settings = configuration.load({"listen": args.listen})
    if not args.no_http:
        _refuse_strangers(settings)
    logs.configure(settings)
    # uvicorn ends gracefully and then raises the signal again, for this handler. A shell lets
    # what it starts in the background inherit that SIGINT is ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _terminated)
    migration = Migration(settings)
    if args.no_http:
        _work(settings, migration, scheduled=not args.no_schedule)
    app = create_app(settings, migration, scheduled=not args.no_schedule)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    with _listening(settings.listen) as sockets:
        migration.attempt()
        print(_headline(settings, sockets[0]), flush=True)
        _warn_if_open(settings)
        _warn_if_nameless(settings)
        migration.log()
        # Modules and the application stay as they are. To look through them for garbage again and
        # again takes 80 ms each time, in which nobody is answered. Nothing is collected here: what
        # a signal's handler raises is lost where that runs finalizers.
        gc.freeze()
        uvicorn.Server(config).run(sockets=sockets)
    return Exit.FAILED


def _work(settings: Settings, migration: Migration, *, scheduled: bool) -> NoReturn:
    rounds = Rounds(settings)
    work = Work(settings, migration, rounds, scheduled=scheduled)
    migration.attempt()
    print("jobmon works, and listens nowhere", flush=True)
    migration.log()
    try:
        work.start()
        while True:  # a signal's handler breaks it off
            time.sleep(_FOREVER_SECONDS)
    finally:
        work.stop()
        rounds.close()


def _refuse_strangers(settings: Settings) -> None:
    if settings.listen.is_local or is_guarded(settings) or settings.auth.allow_unauthenticated:
        return
    problem = (
        f"listen: {settings.listen} can be reached from other machines and auth.tokens is empty, "
        "as are the other ways to authenticate; expected a token, a loopback address, or "
        "auth.allow_unauthenticated = true, with which everyone may read"
    )
    raise SettingsError([problem])


def _warn_if_open(settings: Settings) -> None:
    if is_guarded(settings):
        return
    if settings.auth.allow_unauthenticated:
        who = "everyone may read, and nobody may change anything"
    else:
        who = "everyone on this machine may do everything"
    _log.warning("no authentication is configured (auth.tokens): %s", who)


def _warn_if_nameless(settings: Settings) -> None:
    where = settings.listen
    if where.is_local or settings.allowed_hosts or settings.public_url is not None:
        return
    if where.host in ("", "0.0.0.0", "::"):  # noqa: S104 compared with, not listened on
        _log.warning(
            "allowed_hosts and public_url are empty: requests for a name that is not this "
            "machine's own are refused (400); those for an address are answered"
        )


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _listening(where: Listen) -> Generator[list[socket.socket]]:
    try:
        sockets = [_unix_socket(where.path)] if where.path else _tcp_sockets(where)
    except OSError as error:
        raise ServeError(f"cannot listen on {where}: {error.strerror or error}") from error
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()
        if where.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(where.path)


def _tcp_sockets(where: Listen) -> list[socket.socket]:
    found = socket.getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    port = where.port
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            one = socket.socket(family, kind, protocol)
        except OSError:  # a kernel without IPv6
            continue
        sockets.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind((address[0], port, *address[2:]))
            one.listen(2048)
        except OSError:
            for opened in sockets:
                opened.close()
            raise
        port = one.getsockname()[1]
    if not sockets:
        raise OSError("it has no usable address")
    return sockets


def _unix_socket(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            os.unlink(path)
        one.bind(path)
        os.chmod(path, _SOCKET_MODE)
        one.listen(2048)
    except OSError:
        one.close()
        raise
    return one


def _is_left_over(path: str) -> bool:
    """Whether a socket lies there on which nobody listens any more."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except FileNotFoundError:
        return False
    return False


def _headline(settings: Settings, listener: socket.socket) -> str:
    if settings.listen.path:
        return f"jobmon serves /{settings.prefix} and /metrics on {settings.listen}"
    host, port = listener.getsockname()[:2]
    base = f"http://{Listen(host, port)}"
    return f"jobmon serves {base}/{settings.prefix} and {base}/metrics"
