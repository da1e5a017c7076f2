"""What all dashboards have in common: variables, links, marks on the time axis, and a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from grafana.source.expressions import APP, moment, newest
from grafana.source.parts import SOURCE, Panel

SCHEMA: Final = 39
"""Of Grafana 10.4; newer ones bring it up to date as they load it."""
STEP: Final = "60s"


class Section(NamedTuple):
    """Panels under one heading, from left to right."""

    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """What can be chosen at the top: values of a label."""

    name: str
    family: str
    where: str = ""
    is_one: bool = False
    """One value at a time, never all."""
    label: str = ""
    """Of the family; the same as the name if not given."""


APPS: Final = Variable("app", "jobmon_build_info")
ENGINES: Final = Variable("engine", "jobmon_worker_info", APP)
JOB_ENGINES: Final = Variable("engine", "jobmon_jobs_enqueued_total", APP)
QUEUES: Final = Variable("queue", "jobmon_jobs_enqueued_total", f'{APP}, engine=~"$engine"')
JOBS: Final = Variable(
    "job_name", "jobmon_jobs_enqueued_total", f'{APP}, engine=~"$engine", queue=~"$queue"'
)
COMMANDS: Final = Variable("command", "jobmon_command_runs_total", APP)
COMMAND: Final = COMMANDS._replace(is_one=True)


class Mark(model.AnnotationQuery):
    """Marks on the time axis, with what the SDK does not know of Prometheus's."""

    def __init__(self, name: str, expression: str, title: str, color: str, **more: Any) -> None:
        super().__init__(name=name, datasource=SOURCE, expr=expression, icon_color=color, **more)
        self.more: dict[str, object] = {"titleFormat": title, "step": STEP}

    def to_json(self) -> dict[str, object]:
        return super().to_json() | self.more

    def build(self) -> Mark:
        """Itself: the SDK wants a builder."""
        return self


def starts(where: str, *, enabled: bool = True) -> Mark:
    """When runs of commands started."""
    started = newest("jobmon_command_last_start_timestamp_seconds", where, "command")
    mark = Mark("Command starts", moment(started), "{{command}} started", "blue", enable=enabled)
    mark.more["useValueForTime"] = True
    return mark


def anomalies(where: str = APP) -> Mark:
    """From when to when something was not as usual."""
    active = newest("jobmon_anomaly_active", where, "scope", "name", "signal")
    return Mark("Anomalies", f"{active} == 1", "{{name}}: {{signal}}", "orange")


def board(
    name: str,
    title: str,
    description: str,
    sections: Sequence[Section],
    *,
    variables: Sequence[Variable] = (),
    marks: Sequence[Mark] = (),
) -> model.Dashboard:
    """A dashboard, with the properties that are the same in all of them."""
    made = (
        dashboard.Dashboard(f"jobmon: {title}")
        .uid(f"jobmon-{name}")
        .description(description)
        .tags(["jobmon"])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .version(1)
        .annotations(list(marks))
        .link(
            dashboard.DashboardLink("jobmon")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["jobmon"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    for variable in (APPS, *variables):
        made.with_variable(_variable(variable))
    for section in sections:
        made.with_row(dashboard.Row(section.title))
        for panel in section.panels:
            made.with_panel(panel)
    built = made.build()
    built.schema_version = SCHEMA
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number
    return built


def _variable(one: Variable) -> dashboard.QueryVariable:
    series = f"{one.family}{{{one.where}}}" if one.where else one.family
    made = (
        dashboard.QueryVariable(one.name)
        .label(one.name.replace("_", " "))
        .query(f"label_values({series}, {one.label or one.name})")
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if not one.is_one:
        made.multi(True).include_all(True).all_value(".*")
        made.current(model.VariableOption(text="All", value="$__all", selected=True))
    return made
