"""A table that was split as the manual says takes rows, updates and deletions as before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobmon.history import migrate
from jobmon.history.retention import prune
from jobmon.model import Outcome, Stage, Status
from tests.conftest import RedisServer
from tests.databases import made
from tests.history.copied import Copies, copies
from tests.serving import Recorded

PAGE = Path(__file__).parents[2] / "docs/howto/production.md"


@pytest.fixture
def history(store: RedisServer, tmp_path: Path) -> Iterator[Copies]:
    with made("postgresql", tmp_path) as one, copies(store, one) as opened:
        yield opened


def split(engine: sa.Engine) -> None:
    """What the manual says."""
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        driver.autocommit = True
        driver.execute(block)
        connection.invalidate()


def indexes(engine: sa.Engine) -> set[str]:
    inspected = sa.inspect(engine)
    found = {str(one["name"]) for one in inspected.get_indexes("job_metrics")}
    return found | {str(inspected.get_pk_constraint("job_metrics")["name"])}


def test_rows_stay_and_are_written_updated_and_pruned_as_before(
    recorded: Recorded, history: Copies
) -> None:
    first = recorded.run("data:process")
    ids = first.jobs(3, Outcome.FAILED)
    history.sync()
    before, had = history.rows("job_metrics", all_columns=True), indexes(history.engine)
    split(history.engine)
    assert history.rows("job_metrics", all_columns=True) == before
    assert indexes(history.engine) == had

    recorded.write(first.transition(ids[0], Status.COMPLETED, Stage(0), Outcome.COMPLETED))
    second = recorded.run("data:process")
    second.jobs(100, Outcome.COMPLETED)
    report = history.sync()
    assert (report.jobs, report.errors) == (101, [])
    rows = {row["job_id"]: row for row in history.rows("job_metrics", all_columns=True)}
    assert len(rows) == 103
    assert rows[ids[0]]["status"] == "success"
    assert len({row["id"] for row in rows.values()}) == 103

    later = datetime.now(UTC) + timedelta(days=31)
    pruned = prune(history.engine, history.tables, 30, now=later)
    assert pruned["job_metrics"] == 103
    assert history.rows("job_metrics") == []


def test_an_empty_table_can_be_split_and_needs_no_migration(tmp_path: Path) -> None:
    with made("postgresql", tmp_path) as one, one.engine() as engine:
        settings = one.settings()
        migrate.prepare(settings)
        split(engine)
        assert migrate.check(engine, settings) == []
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM job_metrics")) == 0
