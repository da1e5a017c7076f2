"""``jobmon migrate`` as a process, on each database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from jobmon.history import migrate
from tests.databases import Database
from tests.serving import environment

NEWEST = migrate.versions()[-1]


def run(url: str, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "migrate", *options],
        env=environment(DATABASE_URL=url, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_what_is_missing_and_makes_it(own_database: Database) -> None:
    missing = run(own_database.url, "--check")
    assert (missing.returncode, missing.stderr) == (1, "")
    assert missing.stdout == "".join(f"Missing: {one}.\n" for one in migrate.versions())
    made = run(own_database.url)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.splitlines() == [
        *(f"Made {one}." for one in migrate.versions()),
        f"The schema is {NEWEST}.",
    ]


def test_where_nothing_is_missing_it_does_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobmon.db"
    assert run(url, "--to", NEWEST).stdout.endswith(f"The schema is {NEWEST}.\n")
    again = run(url)
    assert (again.returncode, again.stdout) == (0, f"The schema is {NEWEST}.\n")
    checked = run(url, "--check")
    assert (checked.returncode, checked.stdout) == (0, "The schema is up to date.\n")


def test_statements_are_printed_without_a_database(tmp_path: Path) -> None:
    for url in (
        f"sqlite:///{tmp_path}/none.db",
        "postgresql://nowhere.invalid/d",
        "mysql://nowhere.invalid/d",
    ):
        printed = run(url, "--sql", DATABASE_TABLE_PREFIX="jm_")
        assert (printed.returncode, printed.stderr) == (0, "")
        assert "CREATE TABLE jm_command_metrics" in printed.stdout
        assert "INSERT INTO jm_jobmon_version" in printed.stdout
    assert not (tmp_path / "none.db").exists()


def test_a_database_that_is_away_is_exit_69() -> None:
    for url in ("postgresql://u:hidden@127.0.0.1:9/d", "mysql://u:hidden@127.0.0.1:9/d"):
        ended = run(url)
        assert ended.returncode == 69
        assert ended.stderr.startswith("jobmon migrate: the database d on 127.0.0.1:9 cannot be")
        assert "hidden" not in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert run("sqlite:////nonexistent/jobmon.db").returncode == 69


def test_a_database_that_refuses_is_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "jobmon.db"
    file.write_text("no database " * 100)
    ended = run(f"sqlite:///{file}")
    assert ended.returncode == 1
    assert ended.stderr == "jobmon migrate: the database refused: file is not a database\n"


def test_a_version_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobmon.db"
    ended = run(url, "--to", "0815")
    assert ended.returncode == 2
    assert f"no version '0815' of the schema; there are {migrate.versions()[0]}" in ended.stderr
    assert run(url, "--check", "--sql").returncode == 2
