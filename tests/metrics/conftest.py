"""What the collectors yield for a real store, as Prometheus would read it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobmon.metrics.catalogue import shared
from jobmon.store import connection
from jobmon.store.reader import Reader
from tests.serving import Recorded

Sampled = Callable[..., float | None]


@pytest.fixture
def sampled(recorded: Recorded) -> Sampled:
    """Value of a sample by name and labels, None where there is no such series."""

    def value(name: str, /, **labels: str) -> float | None:
        with connection.connect(recorded.settings) as client:
            page = shared(Reader(client, recorded.settings), "shop").page(openmetrics=False)
        wanted = {"app": "shop", **labels}
        found = [
            sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
            if sample.name == name and sample.labels == wanted
        ]
        assert len(found) < 2
        return found[0] if found else None

    return value
