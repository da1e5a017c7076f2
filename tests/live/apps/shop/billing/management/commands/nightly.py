"""A command that calls another and publishes a job; its class comes from another module."""

from __future__ import annotations

from tests.live.apps.shop.billing.nightly import Nightly as Command

__all__ = ["Command"]
