"""The page of acceptance lines: what is promised, and the tests that show it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent.parent / "tests" / "acceptance"
_TEST: Final = re.compile(r"^(?:async )?def (test_(s\d+\w*))", re.MULTILINE)

LINES: Final = {
    1: "A Celery task dispatched inside a command is listed under that command's run",
    2: "So is an RQ job; both engines in one run add up to one `job_count`",
    3: "An explicit process id and name link a job without any command block",
    4: "A job outside any command is `manual-dispatch`, with a UUID of its own and no run",
    5: "A process id must be a UUID; none gives a fresh one; upper case is stored lower",
    6: "No command name gives `manual-dispatch`",
    7: "The queue time is unknown before the start, then not negative",
    8: "Threads that dispatch on one task with different process ids never mix them",
    9: "A command's start and end write the documented keys with the documented fields",
    10: "Exit codes: exception 1, `SystemExit(n)` n, a signal under `jobmon run` 128+n",
    11: "Of two runs at once the pid map holds the newest; both are running",
    12: "A record goes pending, processing, completed with its times, queue and class",
    13: "A failed job keeps exactly `exceptions.frame_count` innermost frames",
    14: "A transition applied twice, or pending after completed, changes nothing",
    15: "An automatic retry that succeeds counts one job, one success, n attempts",
    16: "`job_count` = `success_jobs` + `failed_jobs` once all ended and none was revoked",
    17: "`peak_memory` is the largest job's; `total_job_time` the sum of execution times",
    18: "The job of a killed worker child becomes `lost` and counts as failed",
    19: "With Redis down or hanging jobs run and finish, nothing raises, nothing waits",
    20: "What monitoring switches off is not recorded, and runs all the same",
    21: "Keys of a run live as long as what is open, failed or completed asks for",
    22: "Keys written are the documented ones and the listed internals, with the prefix",
    23: "`jobmon migrate` makes every documented column and index; twice is once",
    24: "`sync` copies a run with its counters, `avg_job_time`, and `run_date` in UTC",
    25: "Synced twice, or by two at once, the rows are the same",
    26: "`--dry-run` changes neither the database nor Redis and counts what it would copy",
    27: "With `sync.enabled` off it writes nothing, says so and exits 0; `--force` copies",
    28: "`--batch-size` 1, 500 and 10000 give the same rows; 0, 10001 and x exit 2",
    29: "`--cleanup` removes only what has ended, is copied, and is old enough",
    30: "A database that goes away is tried again, then exit 69; the next sync goes on",
    31: "`sync.timeout_seconds` and `max_memory_mb` stop after a whole batch; the next goes on",
    32: "`jobmon serve` syncs every interval, of two servers one does; `testing` schedules nothing",
    33: "Job ids `a` and `A` are two rows, on MySQL too",
    34: "`dashboard`: the documented keys; `days` moves the period's start, a midnight in UTC",
    35: "1240 successes and 40 failures are 96.88 and 3.12 percent; no jobs are 0 and 0",
    36: "`metrics` wants a command; `recent_*` hold the 10 newest",
    37: "`health`: 200 with three checks; Redis stopped 503, within its time, no host named",
    38: "So for the database stopped, and metrics too old; a fresh installation is healthy",
    39: "`stats`: per queue pending, processing, failed; an idle configured queue shows zeros",
    40: "`jobs/failed`: a bare paginator of 13 keys in order, 20 entries a page",
    41: "95 failed jobs are 5 pages, the last from 81 to 95",
    42: "None are one empty page of three links",
    43: "Whatever is no page is the first; beyond the last is 200 and empty",
    44: "`per_page` from 1 to 100, else 422 with `errors.per_page`",
    45: "What was asked is in every address of the paginator",
    46: "Page 10 of 20 links 1, 2, a gap, 7 to 13, a gap, 19 and 20; one is active",
    47: "`payload` is JSON as text, its secrets masked",
    48: "`jobs/failed/{id}/retry` puts the job back onto its queue under its id; then 404",
    49: "So by the job's own id",
    50: "20 parallel retries of one job push one message",
    51: "A retry while the broker is down is 503, and the row stays",
    52: "`DELETE jobs/failed/{id}` deletes once, then 404; the history stays",
    53: "`commands/running`: the documented keys, objects even when empty, times in UTC",
    54: "`commands/finished`: the documented keys, newest first, older than the TTL absent",
    55: "`commands/{id}/jobs`: each status is the stored record as a string, byte for byte",
    56: "An unknown run has no jobs; what is no UUID is not found",
    57: "`retry-failed` pushes each failed job of a run once, 5,000 too; none is 404",
    58: "`command-metrics` wants a command; an unknown one has no runs and stable trends",
    59: "Trends are of the newest two runs, from unrounded numbers",
    60: "`job-metrics`: statistics ignore the status, filters are those given",
    61: "30 days by default, from 1 to 365, else 422",
    62: "`POST analysis` has the documented keys, whose sums agree",
    63: "A run three times slower, or faster, than those before it is an anomaly",
    64: "So are four times the jobs, a quarter of them, and many more failures",
    65: "A command that falls silent is a missed execution, and no other counter's",
    66: "Each anomaly is an event once; a handler that raises stops no other",
    67: "Of two analyses at once one is refused",
    68: "Database down: 500 with three keys in style success, 503 in style status",
    69: "No error holds a traceback, SQL, a path, a host or a credential",
    70: "Every error is JSON in the style of its endpoint; 405 has `Allow`",
    71: "`prefix` moves every endpoint",
    72: "The documented curl lines work as they stand",
    73: "The served OpenAPI 3.1 document is what the server answers; schemathesis finds nothing",
    74: "`jobmon job-monitor:analyze --command` analyses one, `--all` all, both exit 2",
    75: "`--fail-on` exits 3 only from that severity on",
    76: "`--format json` prints one document and nothing else",
    77: "`jobmon run` exits as its command does, with Redis down too, and lists it",
    78: "`jobmon retry` says what the API says, and exits with 1 if one is refused",
    79: "Every setting can be set by its variable; `doctor` shows value and source, no secret",
    80: "A bad value stops `serve` with exit 2 naming the key; a worker warns and continues",
    81: "Off loopback without authentication the server refuses to start unless allowed to",
    82: "No token 401, a read token on a change 403, an operate token passes",
    83: "The 61st request of a burst waits, by the headers' word; servers share the limit",
    84: "Ten wrong tokens from one address in a minute; a right one still works",
    85: "A page of another site changes nothing, unless it has a token",
    86: "A foreign `Host` is refused",
    87: "Passwords and the like are redacted before they reach Redis, SQL, the API or a log",
    88: "A webhook to a private address is refused, whatever its name, a redirect or DNS says",
    89: "HTML has a policy that allows no script, no frame, no sniffing and no referrer",
    90: "Control characters and markup in names are inert in logs and terminal",
    91: "Instrumenting a worker loads nothing heavy",
    92: "What is recorded while server and database are away is copied once they are back",
}
"""Acceptance lines by number."""


def tests() -> dict[int, list[str]]:
    """Names of the tests that show each line."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for name, numbered in _TEST.findall(path.read_text(encoding="utf-8")):
            for number in re.findall(r"(?:^|_)s(\d+)(?=_|$)", numbered):
                found.setdefault(int(number), []).append(f"`{path.name}` {name}")
    return found


def page() -> str:
    """``acceptance.md``."""
    shown = tests()
    lines = [
        "# Acceptance",
        "",
        "What is promised, by number, and the tests in `tests/acceptance/` that show it on real",
        "servers and workers.",
        "",
        "| | promise | shown by |",
        "|---|---|---|",
    ]
    for number, promise in LINES.items():
        lines.append(f"| S{number} | {promise} | {'<br>'.join(shown.get(number, []))} |")
    return "\n".join(lines) + "\n"
