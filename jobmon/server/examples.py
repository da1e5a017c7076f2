"""Examples for the OpenAPI document, by operation; a test holds each against its schema."""

from __future__ import annotations

from typing import Any, Final

_PROCESS: Final = "71c4a1d0-5b0f-4f0e-9d57-0f6c3d1a2b4e"
_JOB: Final = "c1f2e3d4-8a7b-4c6d-9e0f-1a2b3c4d5e6f"
_BASE: Final = "https://your.app/api/job-monitor"
_PERIOD: Final = {
    "start_date": "2025-07-27T00:00:00Z",
    "end_date": "2025-08-03T12:00:00Z",
    "days": 7,
}
_RUN: Final = {
    "process_id": _PROCESS,
    "command_name": "data:process",
    "source": "console",
    "total_time": 9.42,
    "job_count": 55,
    "success_jobs": 55,
    "failed_jobs": 0,
    "avg_job_time": 0.17,
    "peak_memory": 134217728,
    "run_date": "2025-08-03",
}
_ENDED: Final = {
    "job_id": _JOB,
    "process_id": _PROCESS,
    "command_name": "data:process",
    "execution_time": 0.42,
    "memory_usage": 10485760,
    "queue_time": 0.03,
    "status": "success",
}


def _page(path: str, row: dict[str, Any], query: str = "") -> dict[str, Any]:
    """A list of one entry."""
    url = f"{_BASE}/{path}?{query}page=1"
    return {
        "current_page": 1,
        "data": [row],
        "first_page_url": url,
        "from": 1,
        "last_page": 1,
        "last_page_url": url,
        "links": [
            {"url": None, "label": "&laquo; Previous", "page": None, "active": False},
            {"url": url, "label": "1", "page": 1, "active": True},
            {"url": None, "label": "Next &raquo;", "page": None, "active": False},
        ],
        "next_page_url": None,
        "path": f"{_BASE}/{path}",
        "per_page": 15,
        "prev_page_url": None,
        "to": 1,
        "total": 1,
    }


EXAMPLES: Final[dict[str, Any]] = {
    "getDashboard": {
        "success": True,
        "data": {
            "summary": {
                "total_commands": 42,
                "total_jobs": 1280,
                "success_jobs": 1240,
                "failed_jobs": 40,
                "success_rate": 96.88,
                "failure_rate": 3.12,
                "avg_execution_time": 12.53,
                "total_memory_usage": 734003200,
                "avg_memory_per_command": 17476267,
            },
            "recent_activity": {
                "recent_commands": [
                    {
                        "process_id": _PROCESS,
                        "command_name": "data:process",
                        "run_date": "2025-08-03",
                        "job_count": 55,
                        "success_jobs": 55,
                        "failed_jobs": 0,
                        "total_time": 9.42,
                        "peak_memory": 134217728,
                    }
                ],
                "recent_jobs": [_ENDED],
            },
            "metrics": [],
            "period": _PERIOD,
        },
    },
    "getHealth": {
        "success": True,
        "data": {
            "status": "healthy",
            "timestamp": "2025-08-03T12:00:00Z",
            "checks": {
                "redis": {"status": "healthy", "response_time": 0.0004},
                "database": {"status": "healthy"},
                "metrics_freshness": {"status": "healthy"},
            },
            "sync": {
                "lag_seconds": 12.5,
                "unsynced": 3,
                "failures_waiting": 0,
                "last_success_at": "2025-08-03T11:59:31Z",
                "last_duration_seconds": 0.84,
                "dropped_transitions": 0,
                "expired_unsynced": 0,
                "expired_failures": 0,
                "dead_letters": 0,
                "leads_since": "2025-08-03T08:00:00Z",
            },
        },
    },
    "getStats": {
        "status": "success",
        "data": {
            "total_failed": 12,
            "queues": {
                "default": {"pending": 3, "processing": 1, "failed": 10},
                "notifications": {"pending": 0, "processing": 0, "failed": 2},
            },
        },
    },
    "getJobsFailed": _page(
        "jobs/failed",
        {
            "id": 123,
            "uuid": _JOB,
            "queue": "default",
            "payload": f'{{"uuid":"{_JOB}","displayName":"app.tasks.process_user","attempts":1}}',
            "exception": 'ValueError: bad row\n  File "app/tasks.py", line 12, in run',
            "failed_at": "2025-08-03 11:55:10",
        },
    )
    | {"per_page": 20},
    "getCommandsRunning": {
        "status": "success",
        "data": [
            {
                "id": _PROCESS,
                "command": "data:process",
                "source": "console",
                "started_at": "2025-08-03 11:58:00",
                "environment": "production",
                "arguments": {},
                "options": {},
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "host": "worker-1",
                "pid": 4321,
            }
        ],
    },
    "getCommandsFinished": {
        "status": "success",
        "data": [
            {
                "id": _PROCESS,
                "command": "data:process",
                "source": "console",
                "finished_at": "2025-08-03 12:01:10",
                "exit_code": 0,
                "started_at": "2025-08-03 11:58:00",
                "duration": 190.02,
            }
        ],
    },
    "getCommandsByProcessIdJobs": {
        "status": "success",
        "data": [
            {
                "id": _JOB,
                "status": '{"status":"completed","execution_time":0.42,"queue_time":0.03}',
            }
        ],
    },
    "getCommandMetrics": {
        "success": True,
        "data": {
            "command": "data:process",
            "metrics": _page("command-metrics", _RUN, "command=data%3Aprocess&"),
            "trends": {
                "execution_time": {"change": 1.2, "change_percent": 14.62, "trend": "increasing"},
                "job_count": {"change": -5, "change_percent": -8.33, "trend": "decreasing"},
            },
            "period": _PERIOD,
        },
    },
    "getJobMetrics": {
        "success": True,
        "data": {
            "metrics": _page("job-metrics", _ENDED, f"process_id={_PROCESS}&status=success&"),
            "statistics": {
                "total_jobs": 1280,
                "success_jobs": 1240,
                "failed_jobs": 40,
                "success_rate": 96.88,
                "failure_rate": 3.12,
                "avg_execution_time": 0.37,
                "avg_queue_time": 0.04,
                "avg_memory_usage": 11534336,
            },
            "filters": {"process_id": _PROCESS, "status": "success"},
            "period": _PERIOD,
        },
    },
}
