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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when a target is missed in a full run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=4000, help="Celery jobs per round")
    parser.add_argument("--rq-jobs", type=int, default=400, help="RQ jobs per round")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--quick", action="store_true", help="2 small rounds: does it run?")
    parser.add_argument("--no-hooks", action="store_true", help="leave out the hooks alone")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the rows")
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
            "rounds": [{row: asdict(cost) for row, cost in one.items()} for one in rounds],
            "hooks": hooks,
            "targets": [asdict(t) | {"met": t.met} for t in report.targets(rounds)],
        }
        chosen.json.write_text(json.dumps(content, indent=1) + "\n")
    if chosen.page:
        report.write_page(chosen.page, text)
    return 0 if chosen.quick or all(t.met for t in report.targets(rounds)) else 1


def _measure(chosen: argparse.Namespace) -> list[dict[str, Cost]]:
    order = random.Random(chosen.seed)
    began = time.monotonic()
    rounds: list[dict[str, Cost]] = []
    receiver = Receiver()
    try:
        for number in range(1, chosen.rounds + 1):
            rows = list(chosen.rows)
            order.shuffle(rows)
            measured: dict[str, Cost] = {}
            for key in rows:
                jobs = chosen.jobs if ROWS[key].engine == "celery" else chosen.rq_jobs
                cost = measure(ROWS[key], receiver, jobs=jobs, warm_up=max(10, jobs // 10))
                measured[key] = cost
                print(
                    f"{time.monotonic() - began:6.0f} s  {number}/{chosen.rounds}  {key:20}"
                    f"{cost.total:8.0f} µs a job",
                    file=sys.stderr,
                    flush=True,
                )
            rounds.append(measured)
    finally:
        receiver.stop()
    return rounds


def _hooks(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    from benchmarks.overhead import hooks

    return hooks.measure(quick=chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
