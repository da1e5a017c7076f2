"""``jobmon doctor --dead-letters``: what the history could not take, and trying it again."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from jobmon.cli import Exit
from jobmon.inert import inert
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.dead_letters import MOST, DeadLetter, DeadLetters


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Show them, or have them tried again.

    Returns:
        0, also when there are none.

    Raises:
        redis.RedisError: The store cannot be asked.
    """
    with connection.connect(settings) as client:
        dead_letters = DeadLetters(client, settings)
        if args.requeue is not None:
            before = dead_letters.size()
            requeued = dead_letters.requeue(args.requeue or None)
            gone = max(0, before - dead_letters.size() - requeued)
            if args.format == "json":
                print(json.dumps({"requeued": requeued, "gone": gone}))
            else:
                print(f"Requeued {requeued} for the next sync; {gone} had expired.")
            return Exit.DONE
        letters = dead_letters.read(MOST)
    if args.format == "json":
        print(json.dumps([_shown(one) for one in letters], ensure_ascii=False, indent=2))
    else:
        _print(letters)
    return Exit.DONE


def _shown(letter: DeadLetter) -> dict[str, object]:
    members = letter._asdict()
    del members["raw"]
    return members


def _print(letters: list[DeadLetter]) -> None:
    if not letters:
        print("There are no dead letters.")
    for one in letters:
        at = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        job = "" if one.job_id is None else f", job {inert(one.job_id)}"
        print(f"{at}  {inert(one.command or '-')}, run {inert(one.process_id)}{job}")
        print(f"    {one.size} bytes: {inert(one.reason)}")
