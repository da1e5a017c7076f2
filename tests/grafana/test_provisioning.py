"""What Grafana reads at its start fits what else ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_datasource_is_a_prometheus_that_scrapes_as_often_as_ours() -> None:
    (source,) = read("grafana/provisioning/datasources/jobmon.yaml")["datasources"]
    assert (source["uid"], source["type"]) == ("jobmon-prometheus", "prometheus")
    scraped = read("exporters/prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    (traces,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert traces == {"name": "trace_id", "datasourceUid": "tempo"}


def test_dashboards_are_read_from_the_folder_that_the_page_exports_to() -> None:
    (provider,) = read("grafana/provisioning/dashboards/jobmon.yaml")["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    folder = provider["options"]["path"]
    assert f"jobmon dashboards export {folder}\n" in (ROOT / "grafana/README.md").read_text()
