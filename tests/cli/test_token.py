"""``jobmon token`` as a process."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from jobmon.settings import load
from tests.serving import environment, until

COMMAND = [sys.executable, "-m", "jobmon.cli.main", "token"]


def token(*options: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        env=environment(),
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("scope", "prefix"), [("read", "r"), ("operate", "o"), ("metrics", "m")])
def test_a_token_is_printed_once_with_its_line_for_the_settings(scope: str, prefix: str) -> None:
    made = token("create", "ann", "--scope", scope)
    assert made.returncode == 0
    secret, setting = made.stdout.splitlines()
    assert re.fullmatch(rf"jm{prefix}_[0-9A-Za-z]{{43}}", secret)
    (known,) = load({"auth.tokens": setting}, environ={}).auth.tokens
    assert known[:2] == ("ann", scope)
    assert known.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in setting
    assert secret not in made.stderr


def test_json_is_one_document_and_a_name_is_made_up() -> None:
    made = [json.loads(token("create", "--format", "json").stdout) for _ in range(2)]
    assert made[0]["token"] != made[1]["token"]
    assert made[0]["scope"] == "read"
    for one in made:
        assert re.fullmatch(r"read-[0-9a-f]{6}", one["name"])
        assert one["setting"].startswith(f"{one['name']}:read:sha256:")
    load({"auth.tokens": [one["setting"] for one in made]}, environ={})


def test_a_password_is_read_from_stdin() -> None:
    made = token("hash", "ann@x.org", "--scope", "operate", given="correct horse\nmore\n")
    assert made.returncode == 0
    assert "correct horse" not in made.stdout + made.stderr
    (user,) = load({"auth.basic": made.stdout.strip()}, environ={}).auth.basic
    assert user[:2] == ("ann@x.org", "operate")
    key = hashlib.scrypt(
        b"correct horse",
        salt=bytes.fromhex(user.salt),
        n=user.cost,
        r=user.block_size,
        p=user.parallel,
        maxmem=2**26,
        dklen=32,
    )
    assert user.key == key.hex()
    made = token("hash", "ben", "--format", "json", given="x")
    assert json.loads(made.stdout)["name"] == "ben"


@pytest.mark.parametrize(("again", "code"), [("horse", 0), ("house", 2)])
def test_or_from_the_terminal_twice_and_unseen(again: str, code: int) -> None:
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "hash", "ann"],
        env=environment(),
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=child,
        start_new_session=True,
    ) as process:
        os.close(child)
        seen = b""
        for prompt, word in ((b"Password: ", b"horse"), (b"Again: ", again.encode())):

            def asked(prompt: bytes = prompt) -> bool:
                nonlocal seen
                seen += os.read(parent, 1000)
                return prompt in seen

            until(asked)
            os.write(parent, word + b"\n")
        assert process.stdout is not None
        made = process.stdout.read().decode()
        assert process.wait(20) == code
    assert b"horse" not in seen
    assert bool(made) is (code == 0)
    os.close(parent)


@pytest.mark.parametrize(
    ("options", "given", "code"),
    [
        ((), "", 2),
        (("create", "a b"), "", 2),
        (("create", "--scope", "admin"), "", 2),
        (("hash",), "x", 2),
        (("hash", "a:b"), "x", 2),
        (("hash", "ann"), "", 2),
        (("hash", "ann"), "a\tb", 2),
        (("hash", "ann"), "x" * 257, 2),
    ],
)
def test_what_cannot_be_used_is_refused(options: tuple[str, ...], given: str, code: int) -> None:
    refused = token(*options, given=given)
    assert refused.returncode == code
    assert refused.stdout == ""
    assert refused.stderr.startswith("jobmon token")
