"""Queues at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer


@dataclass(frozen=True, slots=True)
class Queue(Answer):
    """Jobs of one queue by state."""

    pending: int
    """Those to be tried again among them."""
    processing: int
    failed: int
    """Rows of the failed jobs, lost ones among them."""


@dataclass(frozen=True, slots=True)
class Stats(Answer):
    """Configured queues, those seen within a day, and those with jobs in them."""

    total_failed: int
    """Of all queues."""
    queues: dict[str, Queue]
    """By name."""
