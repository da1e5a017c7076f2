"""A program made with Click, which knows nothing of jobmon."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

ENDINGS: dict[str, Any] = {
    "return": lambda: None,
    "exit-4": lambda: sys.exit(4),
    "exit-text": lambda: sys.exit("no orders"),
    "exit-nothing": lambda: sys.exit(),
    "context-exit-5": lambda: click.get_current_context().exit(5),
    "click-exception": lambda: _raise(click.ClickException("no orders")),
    "usage-error": lambda: _raise(click.UsageError("no such day")),
    "bad-parameter": lambda: _raise(click.BadParameter("no such day")),
    "abort": lambda: _raise(click.Abort()),
    "end-of-input": lambda: _raise(EOFError()),
    "error": lambda: _raise(ValueError("no orders")),
    "broken-pipe": lambda: _raise(BrokenPipeError(32, "Broken pipe")),
    "interrupt": lambda: signal.raise_signal(signal.SIGINT),
    "terminate": lambda: signal.raise_signal(signal.SIGTERM),
    "kill": lambda: signal.raise_signal(signal.SIGKILL),
    "vanish": lambda: os._exit(3),
}


def _raise(error: BaseException) -> None:
    raise error


@click.group()
@click.option("--region", default="eu")
def cli(region: str) -> None:
    """Orders of a shop."""


@cli.command()
@click.argument("how", type=click.Choice(list(ENDINGS)))
def end(how: str) -> None:
    """End in one way or another."""
    ENDINGS[how]()


@cli.group()
def orders() -> None:
    """Commands in a group."""


@orders.command("import")
@click.argument("day")
@click.option("--limit", default=10)
@click.option("--pin", hide_input=True, default="")
@click.option("--api-token", default="")
def import_(day: str, limit: int, pin: str, api_token: str) -> None:
    """Import the orders of a day."""
    click.echo(f"{day} {limit} {pin} {api_token}")


@orders.command()
@click.pass_context
def reimport(ctx: click.Context) -> None:
    """Call a command through its context, which is a call of its function."""
    ctx.invoke(import_, day="monday")
    ctx.forward(import_, day="tuesday")


@orders.command()
def nest() -> None:
    """Call the program from inside of it."""
    cli.main(["orders", "import", "monday"], standalone_mode=False)


@orders.command()
@click.argument("url")
def enqueue(url: str) -> None:
    """Publish a job."""
    import redis
    from rq import Queue

    click.echo(Queue("work", connection=redis.Redis.from_url(url)).enqueue(print).id)


@cli.group(invoke_without_command=True)
def report() -> None:
    """A command by itself, and a group."""


@report.command()
def daily() -> None:
    """The day's report."""


@cli.group(chain=True)
def steps() -> None:
    """Commands that follow one another."""


@steps.command()
def fetch() -> None:
    """The first step."""


@steps.command()
def load() -> None:
    """The second step."""


@cli.group()
def ended_by_result() -> None:
    """A group that looks at what its command returned."""


@ended_by_result.result_callback()
def look_at(result: int) -> None:
    sys.exit(result)


@ended_by_result.command()
def six() -> int:
    """Return a number."""
    return 6


if __name__ == "__main__":
    cli()
