"""Panels, made alike: each says what it shows and what good looks like."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as query
from grafana_foundation_sdk.models import units

from grafana.source.expressions import spread
from grafana.source.parts import (
    EIGHTH,
    HALF,
    ORANGE,
    SOURCE,
    WIDE,
    Panel,
    States,
    Steps,
    asked,
    link_to,
    mapping_of,
    thresholds_of,
)


class Query(NamedTuple):
    """A line or more of a graph."""

    expression: str
    legend: str
    is_bound: bool = False
    """Drawn dashed: what the others are held against."""
    has_traces: bool = False
    """Its family has exemplars, which lead to traces."""


def stat_of(
    title: str,
    description: str,
    expression: str,
    *,
    unit: str = units.Short,
    steps: Steps = (),
    states: States | None = None,
    leads_to: str | None = None,
    absent: str = "none",
    width: int = EIGHTH,
    legend: str = "",
    decimals: int | None = None,
    shows_name: bool = False,
) -> Panel:
    """One number that is judged at a glance."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .no_value(absent)
        .thresholds(thresholds_of(steps))
        .color_mode(_BACKGROUND if steps or states else options.BigValueColorMode.NONE)
        .graph_mode(options.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(asked(expression, legend or title, "A").instant())
        .span(width)
        .height(4)
    )
    if decimals is not None:
        panel.decimals(decimals)
    if shows_name:
        panel.text_mode(options.BigValueTextMode.NAME)
    if states:
        panel.mappings([mapping_of(states)])
    if leads_to:
        panel.data_links([link_to(leads_to)])
    return panel


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str = units.Short,
    width: int = HALF,
    height: int = 8,
    stacked: bool = False,
    bars: bool = False,
    stepped: bool = False,
    smallest: float | None = 0,
    largest: float | None = None,
    colors: Mapping[str, str] | None = None,
) -> Panel:
    """Lines over time, or bars of what happened in each step.

    Args:
        stacked: What is drawn adds up.
        bars: For numbers of events, not for states.
        stepped: For values that hold until the next event.
        smallest: Where the axis begins.
        largest: Where it ends, where that is known.
        colors: Of legends that mean the same in each panel.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .line_width(1)
        .fill_opacity(70 if bars else 25 if stacked else 0)
        .show_points(options.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.TABLE)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
            # No sum of bars: a rate's interval is longer than a step, so neighbours overlap.
            .calcs(["max"] if bars else ["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(options.TooltipDisplayMode.MULTI)
            .sort(options.SortOrder.DESCENDING)
        )
        .span(width)
        .height(height)
    )
    if bars:
        panel.draw_style(options.GraphDrawStyle.BARS).interval(_LEAST_STEP)
    if stepped:
        panel.line_interpolation(options.LineInterpolation.STEP_AFTER)
    if stacked:
        panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if smallest is not None:
        panel.min(smallest)
    if largest is not None:
        panel.max(largest)
    for ref_id, one in zip(ascii_uppercase, queries, strict=False):
        target = asked(one.expression, one.legend, ref_id).range()
        panel.with_target(target.exemplar(True) if one.has_traces else target)
        if one.is_bound:
            panel.override_by_query(ref_id, _DASHED)
    for legend, color in (colors or {}).items():
        panel.override_by_name(legend, [_color(color)])
    return panel


def bars_of(
    title: str,
    description: str,
    expression: str,
    legend: str,
    *,
    unit: str,
    steps: Steps,
    largest: float | None = None,
    width: int = HALF,
    height: int = 8,
) -> Panel:
    """A bar for each series, now."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .no_value("none")
        .thresholds(thresholds_of(steps))
        .orientation(options.VizOrientation.HORIZONTAL)
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(asked(expression, legend, "A").instant())
        .span(width)
        .height(height)
    )
    if largest is not None:
        panel.max(largest)
    return panel


def timeline(
    title: str,
    description: str,
    expression: str,
    legend: str,
    states: States,
    *,
    width: int = WIDE,
    height: int = 8,
) -> Panel:
    """One row for each series: which state it was in, and when."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .mappings([mapping_of(states)])
        .thresholds(thresholds_of(()))
        .unit(units.Short)
        .show_value(options.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(80)
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .with_target(asked(expression, legend, "A").range())
        .span(width)
        .height(height)
    )


def heatmap_of(
    title: str, description: str, family: str, where: str, *, width: int = HALF, height: int = 8
) -> Panel:
    """How many observations fell into which bucket, and when."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(units.Short)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heat.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .y_axis(heatmap.YAxisConfig().unit(units.Seconds))
        .interval(_LEAST_STEP)
        .cell_gap(1)
        .scale_distribution(common.ScaleDistributionConfig().type(options.ScaleDistribution.LINEAR))
        .show_legend()
        .with_target(
            asked(spread(family, where), "{{le}}", "A")
            .range()
            .format(query.PromQueryFormat.HEATMAP)
        )
        .span(width)
        .height(height)
    )


_LEAST_STEP: Final = "1m"
"""Of what counts events, so that the intervals of its rates overlap little."""
_BACKGROUND: Final = options.BigValueColorMode.BACKGROUND
"""Of what is good or bad; the rest has no colour."""
_DASHED: Final = [
    model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
    model.DynamicConfigValue("custom.lineWidth", 2),
    model.DynamicConfigValue("custom.fillOpacity", 0),
    model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": ORANGE}),
]


def _color(color: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
