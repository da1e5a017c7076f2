"""What is recorded holds no secrets, whatever is thrown at it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import time
import uuid
from collections import OrderedDict, deque, namedtuple
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.instrument import redaction
from jobmon.instrument.redaction import REDACTED, TRUNCATED, redact, redact_text
from jobmon.settings import load

SETTINGS = load({"redact.keys": ["iban"]}, environ={})
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nhunter2\n-----END RSA PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def _no_rules_left() -> Iterator[None]:
    yield
    redaction._rules = ()


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "db_password", "passwd", "pwd", "client-secret", "access_token",
        "API_KEY", "apiKey", "x-api-key", "Authorization", "Set-Cookie", "session_id",
        "credentials", "PRIVATE-KEY", "sentry_dsn", "SENTRYDSN", "I_BAN", b"password",
    ],
)  # fmt: skip
def test_values_under_secret_names_are_hidden(key: Any) -> None:
    shown = redact({"outer": [{key: {"nested": "hunter2"}}]}, SETTINGS)
    assert "hunter2" not in json.dumps(shown)
    assert REDACTED in json.dumps(shown)


@pytest.mark.parametrize("key", ["user", "author", "keyboard", "loadsnapshot", "monkey", "path"])
def test_values_under_other_names_are_shown(key: str) -> None:
    assert redact({key: "plain"}, SETTINGS) == {key: "plain"}


@pytest.mark.parametrize(
    "text",
    [
        "redis://:hunter2@cache:6379/0",
        "postgres://app:hunter2@db/prod",
        "postgres://app:hunt/er2#hunter2@db/prod",
        "amqp://app:hunter2@hunter2@mq",
        "https://hunter2@github.com/x.git",
        "GET /x?api_key=hunter2&page=2",
        "Authorization: Bearer hunter2",
        "authorization: Basic hunter2==",
        "Cookie: a=hunter2; b=hunter2",
        "bearer hunter2",
        "login failed for password=hunter2, retrying",
        "password='hunter2 hunter2'",
        'body was {"user": "x", "token": "hunter2 x", "n": 1}',
        r"body was {\"token\": \"hunter2 x\"}",
        "{'pwd': b'hunter2'}",
        "credentials={'user': 'hunter2', 'n': ['hunter2']} after",
        "os.environ['DB_PASSWORD'] = 'hunter2'",
        "Config(secret=Secret('hunter2'))",
        "mysql --password hunter2 db",
        "mysql --password=hunter2 db",
        "iban: hunter2",
        f"found {PEM} here",
        PEM[:60] + "hunter2",
    ],
)
def test_secrets_in_free_text_are_hidden(text: str) -> None:
    for shown in (redact_text(text, SETTINGS), json.dumps(redact([text], SETTINGS))):
        assert "hunter2" not in shown
        assert REDACTED in shown


@pytest.mark.parametrize("secret", [JWT, JWT.rsplit(".", 1)[0], "AKIAIOSFODNN7EXAMPLE"])
def test_known_shapes_are_hidden_anywhere(secret: str) -> None:
    shown = redact_text(f"got <{secret}> back", SETTINGS)
    assert secret not in shown
    assert shown == f"got <{REDACTED}> back"


@pytest.mark.parametrize(
    "text",
    [
        "no such file: /etc/hosts",
        "http://host:8080/path?page=2",
        "mail me@example.com",
        "unexpected token }",
        "5 of 7 rows, ratio 0.5",
        "",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text, SETTINGS) == text


def test_what_surrounds_a_secret_stays_readable() -> None:
    assert (
        redact_text("call to https://u:p@api/v1?token=abc&page=2 failed: 503", SETTINGS)
        == "call to https://[redacted]@api/v1?token=[redacted]&page=2 failed: 503"
    )


def test_redacting_twice_changes_nothing_more() -> None:
    once = redact_text("password=hunter2 redis://:x@h Bearer y", SETTINGS)
    assert redact_text(once, SETTINGS) == once


def test_flags_of_a_command_line_and_pairs_hide_what_follows_them() -> None:
    assert redact(["mysql", "--password", "hunter2", "db"], SETTINGS) == [
        "mysql", "--password", REDACTED, "db",
    ]  # fmt: skip
    headers = [(b"authorization", b"Basic x"), ("cookie", "a=b"), ("accept", "*/*")]
    assert redact(headers, SETTINGS) == [
        ["authorization", REDACTED],
        ["cookie", REDACTED],
        ["accept", "*/*"],
    ]


def test_values_become_what_json_can_hold() -> None:
    class Color(enum.Enum):
        RED = 1

    class Level(enum.IntEnum):
        HIGH = 3

    @dataclasses.dataclass
    class Account:
        name: str
        password: str

    Point = namedtuple("Point", "x y")
    value = {
        "date": dt.date(2026, 8, 3),
        "decimal": decimal.Decimal("1.50"),
        "uuid": uuid.UUID(int=1),
        "path": PurePosixPath("/tmp/x"),
        "enum": Color.RED,
        "level": Level.HIGH,
        "account": Account("ada", "hunter2"),
        "point": Point(1, 2),
        "set": {7},
        "deque": deque([1]),
        "ordered": OrderedDict(a=1),
        "bytes": b"abc\xff",
        "nan": float("nan"),
        "function": json.dumps,
        "class": decimal.Decimal,
        "error": ValueError("boom"),
        "object": object(),
        4: None,
        (1, 2): True,
    }
    assert redact(value, SETTINGS) == {
        "date": "2026-08-03",
        "decimal": "1.50",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "path": "/tmp/x",
        "enum": "test_values_become_what_json_can_hold.<locals>.Color.RED",
        "level": 3,
        "account": {"name": "ada", "password": REDACTED},
        "point": {"x": 1, "y": 2},
        "set": [7],
        "deque": [1],
        "ordered": {"a": 1},
        "bytes": "abc\ufffd",
        "nan": "nan",
        "function": "<json.dumps>",
        "class": "<decimal.Decimal>",
        "error": "ValueError: boom",
        "object": "<builtins.object>",
        "4": None,
        "<builtins.tuple>": True,
    }


class Hostile:
    """Fails whatever is asked of it."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("lazy objects evaluate here")

    def __iter__(self) -> Any:
        raise RuntimeError("no iteration")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")


class HostileDict(dict[str, object]):
    def items(self) -> Any:
        raise RuntimeError("no items")

    def __iter__(self) -> Any:
        raise RuntimeError("no iteration")


class HostileText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __getitem__(self, index: object) -> str:
        raise RuntimeError("no slices")


def test_odd_objects_never_raise() -> None:
    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no message")

    shown = redact([Hostile(), HostileDict(a=1), HostileText("x"), BadError(), 10**5000], SETTINGS)
    assert shown[0] == f"<{__name__}.Hostile>"
    assert shown[1:] == [{"a": 1}, "x", "[unreadable]", TRUNCATED]
    assert redact({Hostile(): 1}, SETTINGS) == {f"<{__name__}.Hostile>": 1}


def test_cycles_end_at_the_depth_limit() -> None:
    cycle: dict[str, Any] = {}
    cycle["again"] = [cycle, cycle]
    text = json.dumps(redact(cycle, SETTINGS))
    assert TRUNCATED in text
    deep: Any = "bottom"
    for _ in range(7):
        deep = [deep]
    assert "bottom" in json.dumps(redact([deep], SETTINGS))
    assert "bottom" not in json.dumps(redact([[deep]], SETTINGS))


@pytest.mark.parametrize(
    "value",
    [
        "x" * 50_000_000,
        b"x" * 50_000_000,
        list(range(3_000_000)),
        dict.fromkeys(range(1_000_000), "value"),
        ["\x00" * 4000] * 100_000,
        "token=" + "(" * 5_000_000,
        "://:" * 1_000_000,
        "eyJ" * 1_000_000,
        "a-" * 1_000_000,
        [[[[]] * 300] * 300] * 300,
    ],
    ids=lambda value: type(value).__name__,
)
def test_huge_values_take_bounded_time_and_room(value: object) -> None:
    started = time.process_time()
    shown = redact(value, SETTINGS)
    assert time.process_time() - started < 0.5
    assert len(json.dumps(shown, ensure_ascii=False).encode()) <= SETTINGS.redact.max_bytes
    assert TRUNCATED in json.dumps(shown)
    if isinstance(value, str):
        redact_text(value, SETTINGS)
        assert time.process_time() - started < 1


def test_a_secret_cut_in_two_is_still_hidden() -> None:
    room = SETTINGS.redact.max_bytes
    for at in range(room - 60, room, 7):
        shown = redact("x" * at + " redis://user:hunter2@host/0", SETTINGS)
        assert "hunt" not in shown


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=200,
)


@given(json_like, st.integers(64, 2048))
def test_any_value_becomes_json_within_its_room(value: object, room: int) -> None:
    shown = redact(value, load({"redact.max_bytes": room}, environ={}))
    assert len(json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace")) <= room


@given(st.text(alphabet="pasword:= '\"\\{}[]()token@/-\n,x", max_size=300))
def test_any_text_is_survived(text: str) -> None:
    once = redact_text(text, SETTINGS)
    assert isinstance(once, str)


def test_control_characters_stay_and_are_escaped_by_json() -> None:
    shown = redact("a\r\n\x1b[31m\x00", SETTINGS)
    assert shown == "a\r\n\x1b[31m\x00"
    assert json.dumps(shown) == r'"a\r\n\u001b[31m\u0000"'


def test_own_rules_come_first_and_a_raising_one_hides_its_value() -> None:
    @redaction.register
    def no_customers(key: str, value: object) -> object:
        return "[customer]" if key == "customer" else value

    @redaction.register
    def broken(key: str, value: object) -> object:
        if value == "bad":
            raise RuntimeError("rule is broken")
        return value

    shown = redact({"customer": "ada", "x": "bad", "y": "good"}, SETTINGS)
    assert shown == {"customer": "[customer]", "x": REDACTED, "y": "good"}
    assert redact_text("bad", SETTINGS) == REDACTED
    assert redact_text("good", SETTINGS) == "good"


def test_what_others_throw_into_it_passes_through() -> None:
    @redaction.register
    def interrupted(key: str, value: object) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redact("x", SETTINGS)
