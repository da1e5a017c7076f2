"""The ``jobmon`` program: finds the command, imports it alone, and turns errors into exit codes.

A command is a module with ``add_arguments(parser)`` and ``run(args) -> int``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn

from jobmon.cli import Exit, say
from jobmon.errors import JobmonError, Unavailable, UsageError


class _Command(NamedTuple):
    module: str
    summary: str


COMMANDS: Final = {
    "run": _Command("jobmon.cli.run", "run a program as a command and record its jobs"),
    "serve": _Command("jobmon.cli.serve", "answer the JSON API and /metrics"),
    "sync": _Command("jobmon.cli.sync", "copy what Redis holds into the database, once"),
    "analyze": _Command("jobmon.cli.analyze", "judge which runs are not normal, once"),
    "explain": _Command("jobmon.cli.explain", "show what is usual for a command"),
    "migrate": _Command("jobmon.cli.migrate", "make or change the tables of the history"),
    "status": _Command("jobmon.cli.status", "show running and finished commands and their jobs"),
    "failed": _Command("jobmon.cli.failed", "show failed jobs, or delete some"),
    "retry": _Command("jobmon.cli.retry", "run failed jobs again"),
    "events": _Command("jobmon.cli.events", "show anomalies as they are found, call handlers"),
    "schedules": _Command("jobmon.cli.schedules", "show schedulers, and what they send when"),
    "workers": _Command("jobmon.cli.workers", "show workers, and what they run"),
    "dashboards": _Command("jobmon.cli.dashboards", "write out dashboards for Grafana"),
    "token": _Command("jobmon.cli.token", "make a token or a password for the API"),
    "doctor": _Command("jobmon.cli.doctor", "show every setting, its source, and check Redis"),
    "rules": _Command("jobmon.cli.rules", "write out Prometheus rules, or check some"),
    "init": _Command("jobmon.cli.init", "write a commented jobmon.toml"),
    "demo": _Command("jobmon.cli.demo", "see all of it at work on this machine"),
}

_ALIASES: Final = {"job-monitor:analyze": "analyze", "metrics:sync": "sync"}
"""Names that the original product has for them."""

EXTRA_OF: Final = {
    "alembic": "server",
    "celery": "celery",
    "cronsim": "server",
    "httpcore": "server",
    "kombu": "server",
    "numpy": "server",
    "prometheus_client": "server",
    "pydantic": "server",
    "rich": "server",
    "rq": "rq",
    "scipy": "server",
    "sqlalchemy": "server",
    "starlette": "server",
    "uvicorn": "server",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows the program's name; the process's own if not given.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(given)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_help())
        return Exit.DONE if given else Exit.USAGE
    if given[0] in ("-V", "--version"):
        print(f"jobmon {_version()}")
        return Exit.DONE
    name, *rest = given
    name = _ALIASES.get(name, name)
    command = COMMANDS.get(name)
    if command is None:
        return _unknown(name)
    try:
        module = importlib.import_module(command.module)
        parser = _Parser(prog=f"jobmon {name}", description=f"{command.summary}.")
        module.add_arguments(parser)
        code: int = module.run(parser.parse_args(rest))
        return code
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA_OF:
            raise
        extra = "demo" if name == "demo" else EXTRA_OF[missing]
        say(f"jobmon {name} needs {missing}: install jobmon with the extra {extra!r}")
        return Exit.USAGE
    except JobmonError as error:
        say(f"jobmon {name}: {error}")
        if isinstance(error, Unavailable):
            return Exit.UNAVAILABLE
        return Exit.USAGE if isinstance(error, UsageError) else Exit.FAILED
    except Exception as error:
        return _said_by_store(name, error)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jobmon")
    except PackageNotFoundError:  # run from a checkout that is on PYTHONPATH
        return "(not installed)"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong on one line, then where help is, instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message}\nSee: {self.prog} --help\n")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        (
            "usage: jobmon [-h] [-V] COMMAND ...",
            "",
            "See every job of your Celery and RQ workers under the command that spawned it.",
            "",
            "commands:",
            *lines,
            "",
            "jobmon COMMAND --help says more about one.",
        )
    )


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}."
    say(f"jobmon: no such command: {name!r}; {hint}")
    return Exit.USAGE


def _said_by_store(name: str, error: Exception) -> int:
    from jobmon.inert import inert

    # No command has talked to one of them unless its client is loaded.
    redis = sys.modules.get("redis")
    if redis is not None and isinstance(error, redis.RedisError):
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            say(f"jobmon {name}: Redis cannot be reached: {inert(error)}")
            return Exit.UNAVAILABLE
        say(f"jobmon {name}: Redis refused: {inert(error)}")
        return Exit.FAILED
    database = sys.modules.get("jobmon.history.database")
    if database is not None and isinstance(error, database.DBAPIError):
        say(f"jobmon {name}: the database refused: {database.said(error)}")
        return Exit.FAILED
    raise error


if __name__ == "__main__":
    sys.exit(main())
