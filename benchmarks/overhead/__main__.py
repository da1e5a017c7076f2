"""The command: measure the rows in turn, print the table, write it where asked."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.overhead import report
from benchmarks.overhead.rounds import Cost, Receiver, measure
from benchmarks.overhead.rows import ROWS
from benchmarks.overhead.statistics import mean


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when a target is missed in a full run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=4000, help="Celery jobs per round")
    parser.add_argument("--rq-jobs", type=int, default=400, help="RQ jobs per round")
    parser.add_argument("--turns", type=int, default=4, help="of each row in a round")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--quick", action="store_true", help="2 small rounds: does it run?")
    parser.add_argument("--no-hooks", action="store_true", help="leave out the hooks alone")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the turns")
    parser.add_argument("--json", type=Path, help="write every round there")
    parser.add_argument("--page", type=Path, help="write the tables between the page's markers")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.rounds, chosen.jobs, chosen.rq_jobs = 2, 400, 40

    rounds = _measure(chosen)
    hooks = {} if chosen.no_hooks else _hooks(chosen)
    text = report.tables(rounds, hooks, jobs={"celery": chosen.jobs, "rq": chosen.rq_jobs})
    print(text)
    if chosen.json:
        content = {
            "conditions": report.conditions(),
            "jobs": {"celery": chosen.jobs, "rq": chosen.rq_jobs},
            "rounds": [
                {row: [asdict(cost) for cost in turns] for row, turns in one.items()}
                for one in rounds
            ],
            "hooks": hooks,
            "targets": [asdict(t) | {"met": t.met} for t in report.targets(rounds)],
        }
        chosen.json.write_text(json.dumps(content, indent=1) + "\n")
    if chosen.page:
        report.write_page(chosen.page, text)
    return 0 if chosen.quick or all(t.met for t in report.targets(rounds)) else 1


def _measure(chosen: argparse.Namespace) -> list[dict[str, list[Cost]]]:
    order = random.Random(chosen.seed)
    began = time.monotonic()
    rounds: list[dict[str, list[Cost]]] = []
    receiver = Receiver()
    try:
        for number in range(1, chosen.rounds + 1):
            measured: dict[str, list[Cost]] = {}
            for engine, jobs in (("celery", chosen.jobs), ("rq", chosen.rq_jobs)):
                rows = [ROWS[key] for key in chosen.rows if ROWS[key].engine == engine]
                if rows:
                    measured |= measure(rows, receiver, order, jobs=jobs, turns=chosen.turns)
            rounds.append(measured)
            took = f"{time.monotonic() - began:5.0f} s, round {number} of {chosen.rounds}: "
            totals = ", ".join(f"{key} {mean(turns).total:.0f}" for key, turns in measured.items())
            print(f"{took}{totals} µs a job", file=sys.stderr, flush=True)
    finally:
        receiver.stop()
    return rounds


def _hooks(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    from benchmarks.overhead import hooks

    return hooks.measure(quick=chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
