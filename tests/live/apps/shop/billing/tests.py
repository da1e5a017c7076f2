"""The project's own tests, as Django runs them."""

from __future__ import annotations

from io import StringIO

from django.core.management import call_command
from django.test import TransactionTestCase


class InvoiceTest(TransactionTestCase):
    """After each test, Django flushes the database through its command."""

    def test_invoices(self) -> None:
        said = StringIO()
        call_command("invoice", "march", stdout=said)
        assert said.getvalue() == "invoices of march\n"
