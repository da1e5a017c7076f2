"""A program made with Typer, which knows nothing of jobmon."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Annotated

import typer

app = typer.Typer(pretty_exceptions_enable=False)
orders = typer.Typer()
app.add_typer(orders, name="orders")


@orders.command("import")
def import_(day: str, limit: Annotated[int, typer.Option()] = 10) -> None:
    """Import the orders of a day."""

    async def work() -> None:
        await asyncio.sleep(0)

    asyncio.run(work())
    typer.echo(f"{day} {limit}")


@app.command()
def end(how: str) -> None:
    """End in one way or another."""
    if how == "exit-4":
        raise typer.Exit(4)
    if how == "sys-exit-6":
        sys.exit(6)
    if how == "abort":
        raise typer.Abort
    if how == "bad-parameter":
        raise typer.BadParameter("no such day")
    if how == "interrupt":
        signal.raise_signal(signal.SIGINT)
    if how == "error":
        raise ValueError("no orders")


if __name__ == "__main__":
    app()
