"""Parameters: what each may be, and the sentences about what it may not."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

import pytest

from jobmon.server.command_metrics import CommandMetricsQuery
from jobmon.server.failures import FailuresQuery
from jobmon.server.job_metrics import JobMetricsQuery
from jobmon.server.query import (
    NAME,
    InvalidError,
    Query,
    described,
    parameter,
    parse,
    path_values,
)

UUID = "71C4A1D0-5B0F-4F0E-9D57-0F6C3D1A2B4E"


def refused(kind: type[Query], **values: str) -> dict[str, list[str]]:
    with pytest.raises(InvalidError) as caught:
        parse(kind, urlencode(values).encode())
    return dict(caught.value.errors)


def test_defaults() -> None:
    query = parse(JobMetricsQuery, b"")
    assert (query.page, query.per_page, query.days) == (1, 15, 30)
    assert (query.process_id, query.command, query.status) == (None, None, None)
    assert query.given == {}
    assert parse(FailuresQuery, b"").per_page == 20


@pytest.mark.parametrize(
    ("text", "page"),
    [
        *(("1", 1), ("7", 7), (str(2**63 - 1), 2**63 - 1)),
        *((bad, 1) for bad in ("0", "-3", "abc", "1.5", "012", "", " 2", "٣", "1e3")),
        *((bad, 1) for bad in (str(2**63), "9" * 5000)),
    ],
)
def test_a_page_is_never_an_error(text: str, page: int) -> None:
    assert parse(FailuresQuery, urlencode({"page": text}).encode()).page == page


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0", "The days field must be between 1 and 365."),
        ("366", "The days field must be between 1 and 365."),
        ("-1", "The days field must be between 1 and 365."),
        *(
            (text, "The days field must be an integer.")
            for text in ("x", "1.5", "01", "٣", "1_0", "9" * 5000, "+-1", "\n1")
        ),
    ],
)
def test_days_have_bounds(text: str, sentence: str) -> None:
    assert refused(JobMetricsQuery, days=text) == {"days": [sentence]}
    assert parse(JobMetricsQuery, b"days=365").days == 365
    assert parse(JobMetricsQuery, b"days=+7").days == 7


def test_every_sentence() -> None:
    assert refused(
        JobMetricsQuery,
        per_page="101",
        process_id="nope",
        status="success,failed",
        command="x" * 256,
    ) == {
        "process_id": ["The process id field must be a valid UUID."],
        "command": ["The command field must not be greater than 255 characters."],
        "status": ["The selected status is invalid."],
        "per_page": ["The per page field must be between 1 and 100."],
    }
    assert refused(JobMetricsQuery, command="a\nb") == {
        "command": ["The command field format is invalid."]
    }
    for empty in ({}, {"command": ""}):
        assert refused(CommandMetricsQuery, **empty) == {
            "command": ["The command field is required."]
        }


def test_values_are_kept_in_their_usual_form_and_in_order() -> None:
    query = parse(
        JobMetricsQuery,
        f"page=3&per_page=+50&days=9&days=&days=8&process_id={UUID}&status=&x=1".encode(),
    )
    assert query.given == {
        "process_id": UUID.lower(),
        "days": "8",
        "page": "3",
        "per_page": "50",
    }
    assert list(query.given) == ["process_id", "days", "page", "per_page"]
    assert (query.process_id, query.status) == (UUID.lower(), None)


def test_what_is_parsed_is_described() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Wanted(Query):
        name: str = parameter(NAME, "Whose.", ...)

    (one,) = described(Wanted)
    assert (one["name"], one["in"], one["required"]) == ("name", "query", True)
    assert one["schema"]["maxLength"] == 255
    by_name = {one["name"]: one for one in described(JobMetricsQuery)}
    assert by_name["days"]["schema"]["default"] == 30
    assert not by_name["days"]["required"]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"processId": UUID}, {"processId": UUID.lower()}),
        ({"processId": UUID.replace("-", "")}, None),
        ({"processId": f"{{{UUID}}}"}, None),
        ({"id": "123"}, {"id": "123"}),
        ({"id": "a.b:c-D_9"}, {"id": "a.b:c-D_9"}),
        ({"id": "a b"}, None),
        ({"id": "a\n"}, None),
        ({"id": "x" * 256}, None),
        ({"jobId": "é"}, None),
        ({}, {}),
    ],
)
def test_parameters_of_paths(given: dict[str, str], values: dict[str, str] | None) -> None:
    assert path_values(given) == values
