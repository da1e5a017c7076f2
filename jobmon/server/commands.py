"""Command runs and their jobs, from the state store alone."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from jobmon.model import LOST_EXIT_CODE
from jobmon.server.responses import Style, date_time, error, instant, ok
from jobmon.settings import Settings
from jobmon.store.reader import Reader
from jobmon.store.state import CommandRun, RunCounters

MOST_RUNS: Final = 1000
MOST_JOBS: Final = 10_000
"""In one answer; further jobs come with the ``Link`` header."""

_SHOWN_AS_RECORDED: Final = (
    *("app", "release", "tags", "parent_process_id", "parent_job_id"),
    *("schedule", "root_job_id"),
)


class Commands:
    """Handlers of everything under ``commands``."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader = reader
        self._public_url = settings.public_url

    def running(self, _request: Request) -> Response:
        """Open runs, newest first."""
        runs, total = self._reader.running_commands(MOST_RUNS)
        data = [
            {
                "id": run.process_id,
                "command": run.command,
                "source": run.source,
                "started_at": date_time(run.opened_at),
                "environment": run.environment,
                "arguments": dict(run.arguments),
                "options": dict(run.options),
                **_place(run),
            }
            for run in runs
        ]
        return ok(Style.STATUS, data, {"x-total-count": str(total)})

    def finished(self, _request: Request) -> Response:
        """Runs that ended not longer ago than their records live, newest first."""
        runs, total = self._reader.finished_commands(MOST_RUNS)
        data = [
            {
                "id": run.process_id,
                "command": run.command,
                "source": run.source,
                "finished_at": date_time(run.finished_at),
                "exit_code": _exit_code(run),
                "started_at": date_time(run.started_at),
                "duration": _rounded(run.duration),
            }
            for run in runs
        ]
        return ok(Style.STATUS, data, {"x-total-count": str(total)})

    def jobs(self, request: Request) -> Response:
        """Records of a run's jobs, byte for byte as stored, each a string."""
        process_id = _process_id(request)
        if process_id is None:
            return error(Style.STATUS, HTTPStatus.NOT_FOUND)
        cursor = request.query_params.get("cursor", "")
        page = self._reader.jobs_of_run(process_id, limit=MOST_JOBS, cursor=cursor)
        headers = {"x-total-count": str(page.total)}
        if page.next_cursor:
            address = f"{self._base(request)}{request.scope['path']}"
            following = f"{quote(address, safe=':/')}?cursor={quote(page.next_cursor, safe='')}"
            headers["link"] = f'<{following}>; rel="next"'
        data = [
            {"id": job_id, "status": record.decode("utf-8", "replace")}
            for job_id, record in page.jobs
        ]
        return ok(Style.STATUS, data, headers)

    def run(self, request: Request) -> Response:
        """One run with its counters."""
        process_id = _process_id(request)
        run = self._reader.run(process_id) if process_id is not None else None
        if run is None:
            return error(Style.SUCCESS, HTTPStatus.NOT_FOUND)
        counters = self._reader.run_counters(run.process_id, run.command)
        return ok(Style.SUCCESS, _described(run, counters))

    def _base(self, request: Request) -> str:
        if self._public_url is not None:
            return self._public_url
        return f"{request.url.scheme}://{request.headers['host']}"


def _process_id(request: Request) -> str | None:
    """The run id of the path in its usual form, None if it is no UUID."""
    given: str = request.path_params["processId"]
    try:
        canonical = str(uuid.UUID(given))
    except ValueError:
        return None
    return canonical if canonical == given.lower() else None


def _described(run: CommandRun, counters: RunCounters | None) -> dict[str, object]:
    described: dict[str, object] = {
        "process_id": run.process_id,
        "command_name": run.command,
        "source": run.source,
        "status": run.status,
        "environment": run.environment,
        "started_at": instant(run.started_at),
        "finished_at": instant(run.finished_at),
        "due_at": instant(run.due_at),
        "sent_at": instant(run.sent_at),
        "duration": _rounded(run.duration),
        "exit_code": None if run.status == "running" else _exit_code(run),
        "arguments": dict(run.arguments),
        "options": dict(run.options),
        **_place(run),
        **{name: run.data.get(name) for name in _SHOWN_AS_RECORDED},
        "counters": None,
    }
    if counters is not None:
        described["counters"] = {
            "job_count": counters.job_count,
            "success_jobs": counters.success_jobs,
            "failed_jobs": counters.failed_jobs,
            "lost_jobs": counters.lost_jobs,
            "revoked_jobs": counters.revoked_jobs,
            "retried_jobs": counters.retried_jobs,
            "open_jobs": counters.open_jobs,
            "total_job_time": _rounded(counters.total_job_time),
            "peak_memory": counters.peak_memory,
            "drained_at": instant(counters.drained_at),
            "partial": counters.partial,
        }
    return described


def _place(run: CommandRun) -> dict[str, object]:
    """Where the run is: keys beyond the documented ones, null while unknown."""
    trace_id, host, pid = (run.data.get(name) for name in ("trace_id", "host", "pid"))
    return {
        "trace_id": trace_id if isinstance(trace_id, str) and trace_id else None,
        "host": host if isinstance(host, str) and host else None,
        "pid": pid if isinstance(pid, int) else None,
    }


def _exit_code(run: CommandRun) -> int:
    return run.exit_code if run.exit_code is not None else LOST_EXIT_CODE


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 2) if seconds is not None else None
