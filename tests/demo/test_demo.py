"""The demo as a stranger runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from jobmon.demo import corpus
from tests.otlp import Receiver, attributes

pytestmark = pytest.mark.live


def test_once_accounts_for_every_job_and_traces_each(tmp_path: Path) -> None:
    own, left = tmp_path / "own", tmp_path / "left"
    own.mkdir()
    left.mkdir()
    # What the user has set for their own workers is none of the demo's business.
    (own / "jobmon.toml").write_text('[redis]\nprefix = "shop:"\n[auth]\ntokens = ["a"]\n')
    with Receiver() as receiver:
        ran = subprocess.run(
            [sys.executable, "-m", "jobmon.cli.main", "demo", "--once"],
            env={
                **os.environ,
                "TMPDIR": str(left),
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "JOB_MONITOR_TRACKING_TTL": "soon",
            },
            cwd=own,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "every job is accounted for" in ran.stdout
    texts, packages = len(corpus.texts()), len(corpus.packages())
    modules = sum(len(corpus.modules(name)) for name in corpus.packages()[:3])
    checked = corpus.texts()[-60:]
    failing = sum(not (corpus.root() / name).read_bytes().isascii() for name in checked)
    assert f"demo.index_file [celery] x{texts}: {texts} completed" in ran.stdout
    assert f"compress_package [rq] x{packages}: {packages} completed" in ran.stdout
    assert failing
    assert (
        f"demo.check_file [celery] x{len(checked)}: {len(checked) - failing} completed, "
        f"{failing} failed, {failing} retried" in ran.stdout
    )
    nested = re.search(
        r"└─ demo\.report_package \[celery\] x3.*\n"
        rf"   └─ \S+read_module \[rq\] x{modules}: .*\n"
        rf"      └─ demo\.file_vocabulary \[celery\] x{modules}: ",
        ran.stdout,
    )
    assert nested, ran.stdout
    assert not list(left.iterdir()), "the demo left files behind"

    commands = {s.name: s.trace_id for s in receiver.spans if s.name.startswith("command ")}
    assert set(commands) == {
        "command corpus:index",
        "command corpus:compress",
        "command corpus:check",
        "command corpus:report",
    }
    per_trace = Counter(s.trace_id for s in receiver.spans if s.name.startswith("process "))
    assert per_trace == {
        commands["command corpus:index"]: texts,
        commands["command corpus:compress"]: packages,
        commands["command corpus:check"]: len(checked) + failing,
        commands["command corpus:report"]: 3 + 2 * modules,
    }
    ids = {s.span_id for s in receiver.spans}
    for span in receiver.spans:
        if span.name.startswith("process "):
            assert span.parent_span_id in ids
            assert attributes(span)["jobmon.command.name"].startswith("corpus:")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_leaves_no_process_port_or_file(tmp_path: Path, number: signal.Signals) -> None:
    tempfile.mkdtemp(dir=tmp_path)  # what others left there stays
    with subprocess.Popen(
        [sys.executable, "-m", "jobmon.cli.main", "demo"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # it may be ignored here
    ) as demo:
        assert demo.stdout is not None
        seen = ""
        for line in demo.stdout:
            seen += line
            if "corpus:index" in line:
                break
        port = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", seen)
        assert port, seen
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(60) == 0, rest
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port[1])))
    assert len(list(tmp_path.iterdir())) == 1
    assert not _mentioning(str(tmp_path))


def _mentioning(text: str) -> list[str]:
    """Command lines and environments of live processes that hold the text."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found
