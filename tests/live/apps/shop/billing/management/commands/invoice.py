"""A command with arguments, options and endings."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Write the invoices of a month."""

    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month")
        parser.add_argument("--currency", default="EUR")
        parser.add_argument("--api-token", default="")
        parser.add_argument("--end", default="return")

    def handle(self, *args: Any, **options: Any) -> str | None:
        match options["end"]:
            case "exit-4":
                sys.exit(4)
            case "command-error":
                raise CommandError("no invoices")
            case "command-error-7":
                raise CommandError("no invoices", returncode=7)
            case "error":
                raise ValueError("no invoices")
            case "terminate":
                signal.raise_signal(signal.SIGTERM)
            case "vanish":
                os._exit(3)
            case _:
                return f"invoices of {options['month']}"
        return None
