"""S72: the documented curl lines, from `examples.sh`, against a live server behind TLS.

They are run by a shell as they stand, but for what is in angle brackets. `your.app` leads to this
machine by a `.curlrc`, which names the certificate that is to be believed too.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import sqlalchemy as sa

from jobmon.history.schema import tables
from tests import databases
from tests.conftest import RedisServer
from tests.filled import filled
from tests.proxy import Proxy
from tests.retry.failing import failure
from tests.serving import OPERATE, TOKENS, Recorded, Served, until

pytestmark = pytest.mark.live

NEEDED = ("bash", "curl", "openssl")
_EXAMPLE = re.compile(r"# (.+)\n((?:.+\n?)+)")
EXAMPLES: dict[str, str] = dict(
    _EXAMPLE.findall(Path(__file__).with_name("examples.sh").read_text())
)


def certificate(folder: Path) -> ssl.SSLContext:
    """Of `your.app`, made here; also as `cert.pem` in that folder."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=your.app", "-addext", "subjectAltName=DNS:your.app"),
            *("-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason="needs bash, curl and openssl")
def test_s72_the_documented_curl_lines_work(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    broker = f"{store.url.rsplit('/', 1)[0]}/1"
    with databases.made("sqlite", tmp_path) as one, filled(one) as history:
        run = history.run(jobs=2, failed=1, seconds=1.0)
        history.jobs(1, process_id=run)
        history.jobs(1, "failed", process_id=run)
        settings = {
            "AUTH_TOKENS": TOKENS,
            "ALLOWED_HOSTS": "your.app",
            "CELERY_BROKER_URL": broker,
        }
        job_id = str(uuid.uuid4())
        recorded.write(failure(recorded.run(), job_id))
        with (
            Served(store.url, "--no-schedule", DATABASE_URL=history.url, **settings) as server,
            one.engine() as engine,
        ):
            until(lambda: _renamed(engine, job_id))
            way = Proxy(server.url, 80, tls=certificate(tmp_path))
            port = urlsplit(way.url).port
            (tmp_path / ".curlrc").write_text(
                f'connect-to = "your.app:443:127.0.0.1:{port}"\n'
                f'cacert = "{tmp_path / "cert.pem"}"\n'
                'noproxy = "*"\nsilent\nshow-error\nfail\nmax-time = 20\n'
            )
            answers: dict[str, Any] = {}
            for title, example in EXAMPLES.items():
                line = example.replace("<token>", OPERATE).replace("<uuid>", run)
                done = subprocess.run(
                    ["bash", "-c", line],
                    env={"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                answers[title] = json.loads(done.stdout)
            way.close()
    with redis.Redis.from_url(broker) as queues:
        assert queues.llen("jobs") == 1
        queues.flushdb()
    assert len(EXAMPLES) == 4
    assert answers["Dashboard (last 14 days)"]["data"]["period"]["days"] == 14
    runs = answers["Command metrics for a given command"]["data"]["metrics"]
    assert (runs["total"], runs["per_page"]) == (1, 15)
    jobs = answers["Job metrics filtered by process"]["data"]
    assert jobs["filters"] == {"process_id": run, "status": "failed"}
    assert (jobs["metrics"]["total"], jobs["statistics"]["total_jobs"]) == (1, 2)
    assert answers["Retry one failed job"] == {
        "status": "success",
        "message": "Job [123] has been pushed back onto the queue.",
    }


def _renamed(engine: sa.Engine, job_id: str) -> bool:
    """Whether the job is among the failed ones; there its number is 123 from now on."""
    failed = tables("").failed_jobs
    with engine.begin() as connection:
        found = connection.execute(sa.update(failed).where(failed.c.uuid == job_id).values(id=123))
    return found.rowcount == 1
