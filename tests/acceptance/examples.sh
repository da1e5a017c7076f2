# Dashboard (last 14 days)
curl -H "Authorization: Bearer <token>" \
  "https://your.app/api/job-monitor/dashboard?days=14"

# Command metrics for a given command
curl -H "Authorization: Bearer <token>" \
  "https://your.app/api/job-monitor/command-metrics?command=data:process&days=30&per_page=15"

# Job metrics filtered by process
curl -H "Authorization: Bearer <token>" \
  "https://your.app/api/job-monitor/job-metrics?process_id=<uuid>&status=failed"

# Retry one failed job
curl -X POST -H "Authorization: Bearer <token>" \
  "https://your.app/api/job-monitor/jobs/failed/123/retry"
