"""A producer that stays: runs programs, one JSON string a line, and answers in kind.

Importing an engine takes longer than any of them. A program has the module named on the command
line as ``jobs`` and what that exports; what it assigns to ``said`` is its answer.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a program prints is no answer


def main() -> None:
    import jobmon

    jobs = import_module(sys.argv[1])
    for line in sys.stdin:
        names = {**vars(jobs), "jobs": jobs, "jobmon": jobmon, "json": json, "said": None}
        try:
            exec(json.loads(line), names)
            answer = {"said": names["said"]}
        except BaseException:
            answer = {"raised": traceback.format_exc()}
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
