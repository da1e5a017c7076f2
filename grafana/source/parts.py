"""What panels are made of: a datasource, queries, colours that mean something, links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query

SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
RATE: Final = "suffix: /s"
WIDE, HALF, THIRD, QUARTER, EIGHTH = 24, 12, 8, 6, 3
GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"

Panel = Builder[model.Panel]
Steps = Sequence[tuple[float, str]]
"""From which value on which colour; below the first it is green."""
States = Mapping[int, tuple[str, str]]
"""The text and the colour of a value."""

OUTCOMES: Final = {
    "completed": GREEN,
    "failed": RED,
    "timed_out": "purple",
    "lost": "dark-red",
    "retried": ORANGE,
    "rejected": "yellow",
    "revoked": BLUE,
    "ignored": GREY,
}
"""The colour of each outcome, the same in every panel."""
BAD_FROM_ONE: Final[Steps] = ((1, RED),)
UP: Final[States] = {0: ("down", RED), 1: ("up", GREEN)}


def asked(expression: str, legend: str, ref_id: str) -> prometheus.Dataquery:
    """A query of the datasource that was chosen."""
    return (
        prometheus.Dataquery()
        .expr(expression)
        .legend_format(legend)
        .ref_id(ref_id)
        .datasource(SOURCE)
        .editor_mode(query.QueryEditorMode.CODE)
    )


def thresholds_of(steps: Steps) -> dashboard.ThresholdsConfig:
    """The colours of numbers."""
    # A first step without a value holds for all below the next.
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(None, GREEN), *(model.Threshold(*step) for step in steps)])
    )


def mapping_of(states: States) -> model.ValueMap:
    """The texts and colours of states."""
    return model.ValueMap(
        {
            str(value): model.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(states.items())
        }
    )


def link_to(name: str) -> dashboard.DashboardLink:
    """A link to a dashboard that keeps the time, the datasource and the application."""
    return (
        dashboard.DashboardLink(f"Show {name}").type(model.DashboardLinkType.LINK).url(url_of(name))
    )


def url_of(name: str) -> str:
    """Where a dashboard is, with what was chosen."""
    return f"/d/jobmon-{name}?${{datasource:queryparam}}&${{app:queryparam}}&${{__url_time_range}}"
