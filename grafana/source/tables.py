"""Tables: a row for each command, job, queue or worker, a column for each number."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query
from grafana_foundation_sdk.models import units

from grafana.source.parts import (
    SOURCE,
    WIDE,
    Panel,
    States,
    Steps,
    asked,
    mapping_of,
    thresholds_of,
    url_of,
)


class Column(NamedTuple):
    """A column of a table, one value for each row."""

    name: str
    expression: str
    unit: str = units.Short
    steps: Steps = ()
    states: States | None = None
    decimals: int | None = None


def table_of(
    title: str,
    description: str,
    labels: Mapping[str, str],
    *columns: Column,
    about: str = "",
    sorted_by: str,
    descending: bool = True,
    links: Mapping[str, str] | None = None,
    width: int = WIDE,
    height: int = 8,
) -> Panel:
    """A row for each set of labels.

    Args:
        labels: Names of the columns of labels; other labels are not shown.
        about: Series that add labels to the rows, and no value.
        sorted_by: Name of a column.
        links: Of a column's name to the dashboard that its value leads to, as ``name/variable``.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(units.Short)
        .thresholds(thresholds_of(()))
        .no_value("–")
        .filterable(True)
        .sort_by([common.TableSortByFieldState().display_name(sorted_by).desc(descending)])
        .span(width)
        .height(height)
    )
    renamed = dict(labels)
    for ref_id, column in zip(ascii_uppercase, columns, strict=False):
        panel.with_target(
            asked(column.expression, column.name, ref_id)
            .instant()
            .format(query.PromQueryFormat.TABLE)
        )
        # Grafana numbers the values only where there are several.
        renamed["Value" if len(columns) == 1 and not about else f"Value #{ref_id}"] = column.name
        panel.override_by_name(column.name, _cell(column))
    if about:
        panel.with_target(asked(about, "", "Z").instant().format(query.PromQueryFormat.TABLE))
    for name, target in (links or {}).items():
        to, _, variable = target.partition("/")
        url = f"{url_of(to)}&var-{variable}=${{__value.raw}}"
        panel.override_by_name(
            name, [model.DynamicConfigValue("links", [{"title": f"Show {to}", "url": url}])]
        )
    panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    # What is not among the names, such as Time, is left out.
    panel.with_transformation(
        model.DataTransformerConfig(
            "filterFieldsByName", options={"include": {"names": list(renamed)}}
        )
    )
    panel.with_transformation(
        model.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {},
                "indexByName": {name: index for index, name in enumerate(renamed)},
                "renameByName": renamed,
            },
        )
    )
    return panel


def _cell(column: Column) -> list[model.DynamicConfigValue]:
    properties = [model.DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        properties.append(model.DynamicConfigValue("decimals", column.decimals))
    if column.steps:
        properties.append(
            model.DynamicConfigValue("thresholds", thresholds_of(column.steps).build())
        )
    if column.states:
        properties.append(model.DynamicConfigValue("mappings", [mapping_of(column.states)]))
    if column.steps or column.states:
        properties.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return properties
