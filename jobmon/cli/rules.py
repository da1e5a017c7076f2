"""``jobmon rules``: writes out Prometheus rules, also with learned thresholds; has them checked."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jobmon.cli import Exit
from jobmon.cli.shipped import folder, put
from jobmon.errors import UsageError

if TYPE_CHECKING:
    from jobmon.settings import Settings
    from jobmon.store.bounds import Bound, Learned

LEARNED: Final = "jobmon-learned.rules.yaml"
LITERAL: Final = "jobmon-literal.rules.yaml"
ENOUGH_RUNS: Final = 20
"""As the shipped rules want of `jobmon_baseline_runs`."""
_RUNBOOKS: Final = "https://runbooks.example/jobmon"
_DASHBOARDS: Final = "https://grafana.example/d"
_FOLDED: Final = "max without (instance, pod, replica, endpoint, container)"
_DESCRIPTION: Final = (
    "In {{ $labels.app }} it is {{ $value | humanize }}, beyond the bound that jobmon has learned."
)
_ANOMALIES: Final = "  - name: jobmon-anomalies\n"
"""Begins the last group of that file, in which there are no learned numbers."""
_LONG: Final = "10m"
_ENOUGH_STARTS: Final = 20
"""In five minutes, as the bound was learned from."""
_HEAD: Final = """\
# jobmon-learned.rules.yaml with numbers in place of series, as jobmon rules export --literal wrote
# it. Load this file or that one. A number moves once a week at most.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser(
        "export",
        help="write the rules into a folder",
        description="Writes the rules that come with jobmon, for Prometheus' rule_files. A file "
        "that is as it should be is not touched.",
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="made if it does not exist")
    export.add_argument(
        "--literal",
        action="store_true",
        help=f"{LITERAL} in place of {LEARNED}: the thresholds that were learned as numbers, a "
        "group for each command; needs Redis",
    )
    check = actions.add_parser(
        "check",
        help="have promtool check rules",
        description="Runs promtool check rules.",
    )
    check.add_argument("files", type=Path, nargs="*", metavar="FILE", help="default: those shipped")


def run(args: argparse.Namespace) -> int:
    """Write them, or check them."""
    return _check(args.files) if args.action == "check" else _export(args.folder, args.literal)


def _export(target: Path, is_literal: bool) -> int:
    files = {path.name: path.read_text(encoding="utf-8") for path in _shipped()}
    if is_literal:
        files[LITERAL] = _literal(files.pop(LEARNED))
    for name, text in files.items():
        print("wrote" if put(target / name, text) else "unchanged", target / name)
    other = target / (LEARNED if is_literal else LITERAL)
    if other.exists():
        print(f"remove {other}: each of its alerts would be told twice")
    return Exit.DONE


def _check(files: list[Path]) -> int:
    promtool = shutil.which("promtool")
    if promtool is None:
        raise UsageError("promtool is not on PATH: it comes with Prometheus")
    checked = subprocess.run(
        [promtool, "check", "rules", *(files or _shipped())], stdout=sys.stderr, check=False
    )
    return Exit.DONE if checked.returncode == 0 else Exit.FAILED


def _shipped() -> list[Path]:
    return sorted((folder("alerts") / "prometheus").glob("*.rules.yaml"))


def _literal(shipped: str) -> str:
    from jobmon import settings as configuration
    from jobmon.store import connection
    from jobmon.store.bounds import Bounds, Learned
    from jobmon.store.reader import Reader

    settings = configuration.load()
    with connection.connect(settings) as client:
        totals = Reader(client, settings).totals()
    commands = dict(totals.judged.learned)
    for command, seconds in totals.maximum_run_times().items():
        one = commands.get(command, Learned(bounds=Bounds()))
        commands[command] = replace(one, maximum_seconds=seconds)
    return literal(commands, totals.judged.queue_bounds, settings, shipped)


def literal(
    commands: Mapping[str, Learned],
    queues: Mapping[tuple[str, ...], Bound],
    settings: Settings,
    shipped: str,
) -> str:
    """A file of rules, the same bytes for the same bounds.

    Args:
        commands: What was learned of each, or declared.
        queues: Bounds of the time in a queue, seconds, by engine and queue.
        settings: ``app`` and ``alertmanager.runbook_url``.
        shipped: The file in whose place it is.
    """
    runbooks = settings.alertmanager.runbook_url or _RUNBOOKS
    lines = [_HEAD + "groups:"]
    for command, one in sorted(commands.items()):
        if rules := list(_rules(settings.app, command, one)):
            lines += [f"  - name: {_quoted(f'jobmon-literal {command}')}", "    rules:"]
            for rule in rules:
                lines += rule.lines(runbooks)
    if queues:
        lines += ["  - name: jobmon-literal-queues", "    rules:"]
        for (engine, queue), bound in sorted(queues.items()):
            lines += _of_queue(settings.app, engine, queue, bound).lines(runbooks)
    _, begin, rest = shipped.partition(_ANOMALIES)
    return "\n".join(lines) + "\n" + begin + rest.replace(_RUNBOOKS, runbooks)


class _Rule:
    def __init__(self, alert: str, expr: str, labels: Mapping[str, str], summary: str, wait: str):
        self._alert = alert
        self._expr = expr
        self._labels = {**labels, "severity": "warning", "origin": "learned"}
        self._summary = summary
        self._wait = wait

    def lines(self, runbooks: str) -> Iterator[str]:
        """In YAML, of which JSON is a part."""
        yield f"      - alert: {self._alert}"
        yield f"        expr: {_quoted(self._expr)}"
        if self._wait:
            yield f"        for: {self._wait}"
        if self._wait == _LONG:
            yield "        keep_firing_for: 5m"
        yield "        labels:"
        for name, value in self._labels.items():
            # Values are templates.
            yield f"          {name}: {_quoted(value.replace('{{', '{{`{{`}}'))}"
        yield "        annotations:"
        yield f"          summary: {_quoted(self._summary)}"
        yield f"          description: {_quoted(_DESCRIPTION)}"
        yield f"          runbook_url: {_quoted(f'{runbooks}/{self._alert}.md')}"
        board = "jobmon-command" if "command" in self._labels else "jobmon-queues"
        chosen = "&".join(
            f"var-{name}={{{{ $labels.{name} | urlquery }}}}"
            for name in ("app", "command", "engine", "queue")
            if name in self._labels
        )
        yield f"          dashboard_url: {_quoted(f'{_DASHBOARDS}/{board}?{chosen}')}"


def _rules(app: str, command: str, one: Learned) -> Iterator[_Rule]:
    if one.runs < ENOUGH_RUNS and one.maximum_seconds is None:
        return
    labels = {"app": app, "command": command}

    def newest(series: str) -> str:
        return f"max by (app, command) ({series}{_selector(labels)})"

    def rule(alert: str, expr: str, summary: str, wait: str = "") -> _Rule:
        return _Rule(alert, expr, labels, f"{{{{ $labels.command }}}} {summary}", wait)

    duration = newest("jobmon_command_last_duration_seconds")
    jobs = newest("jobmon_command_last_jobs")
    bounds, seconds = one.bounds, "{{ $value | humanizeDuration }}"
    if one.longest is not None:
        most = _number(one.longest)
        since = newest("jobmon_command_oldest_running_start_timestamp_seconds")
        yield rule("JobmonCommandSlow", f"{duration} > {most}", f"took {seconds}.")
        yield rule(
            *("JobmonCommandStillRunningTooLong", f"time() - {since} > {most}"),
            *(f"still runs, after {seconds}.", "1m"),
        )
    if one.runs < ENOUGH_RUNS:
        return
    if bounds.duration_lower is not None and bounds.duration_lower.value > 0:
        least = _number(bounds.duration_lower.value)
        failed = newest("jobmon_command_last_run_failed")
        expr = f"{duration} < {least} unless on (app, command) {failed} == 1"
        yield rule("JobmonCommandSuspiciouslyFast", expr, f"took only {seconds}.")
    if bounds.failure_ratio_upper is not None:
        most = _number(bounds.failure_ratio_upper.value)
        yield rule(
            "JobmonCommandFailureRatioAboveBaseline",
            f"{newest('jobmon_command_last_failure_ratio')} > {most}",
            "had {{ $value | humanizePercentage }} of its jobs fail.",
        )
    if bounds.jobs_lower is not None and bounds.jobs_upper is not None:
        least, most = _number(bounds.jobs_lower.value), _number(bounds.jobs_upper.value)
        expr = f"{jobs} > {most} or on (app, command) {jobs} < {least}"
        yield rule("JobmonCommandJobCountUnusual", expr, "led to {{ $value }} jobs.")


def _of_queue(app: str, engine: str, queue: str, bound: Bound) -> _Rule:
    labels = {"app": app, "engine": engine, "queue": queue}
    recorded = f"app_queue:jobmon_job_queue_time_seconds:p95_5m{_selector(labels)}"
    started = f"jobmon_job_queue_time_seconds_bucket{_selector({**labels, 'le': '+Inf'})}"
    return _Rule(
        "JobmonQueueWaitAboveBaseline",
        f"{recorded} > {_number(bound.value)} and on (app, engine, queue) "
        f"sum by (app, engine, queue) ({_FOLDED} (rate({started}[5m]))) * 300 >= {_ENOUGH_STARTS}",
        labels,
        "Jobs wait longer than usual in queue {{ $labels.queue }}.",
        _LONG,
    )


def _selector(labels: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{name}={_quoted(value)}' for name, value in labels.items())}}}"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")


def _quoted(text: str) -> str:
    """As JSON, YAML and PromQL all read it."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(r"[^ -~]", lambda one: _escaped(one[0]), quoted)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
