"""A Flask application with commands of its own."""

from __future__ import annotations

import click
from flask import Flask

app = Flask(__name__)
app.config["DEBUG"] = False


@app.cli.command("import-orders")
@click.argument("day")
def import_orders(day: str) -> None:
    """Import the orders of a day."""
    click.echo(f"{app.name} {day}")
