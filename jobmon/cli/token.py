"""``jobmon token``: makes a token for the API, or what is kept of a password."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import secrets
import string
import sys
from getpass import getpass
from typing import Final

from jobmon.cli import Exit, say
from jobmon.errors import UsageError
from jobmon.settings import access
from jobmon.settings.parse import Scope

_PREFIXES: Final[dict[Scope, str]] = {"read": "jmr_", "operate": "jmo_", "metrics": "jmm_"}
"""What a token begins with tells its scope, and secret scanners that it is one."""
_BYTES: Final = 32
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH: Final = 43
"""Digits of the largest token."""


class TokenError(UsageError):
    """What was given makes no token and no password."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="make a token",
        description="Prints a new token, which is kept nowhere, and its line for auth.tokens.",
    )
    create.add_argument("name", nargs="?", help="whose it is, for logs (default: made up)")
    _add_common(create)
    hashed = actions.add_parser(
        "hash",
        help="hash a password for basic authentication",
        description="Reads a password from the terminal or the first line of stdin, and prints "
        "the user's line for auth.basic.",
    )
    hashed.add_argument("name", help="the user's name")
    _add_common(hashed)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scope", choices=_PREFIXES, default="read", help="default: %(default)s")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Make one and print it."""
    return _create(args) if args.action == "create" else _hash(args)


def _create(args: argparse.Namespace) -> int:
    token = new_token(args.scope)
    digest = hashlib.sha256(token.encode()).hexdigest()
    name = args.name or f"{args.scope}-{digest[:6]}"
    if not re.fullmatch(access.NAME, name):
        raise TokenError("the name of a token has 1 to 64 letters, digits and . _ -")
    setting = f"{name}:{args.scope}:sha256:{digest}"
    if args.format == "json":
        found = {"name": name, "scope": args.scope, "token": token, "setting": setting}
        print(json.dumps(found))
        return Exit.DONE
    say("The token, which is not shown again, and its line for auth.tokens:")
    print(token, setting, sep="\n")
    return Exit.DONE


def new_token(scope: Scope) -> str:
    """A token that nobody can guess."""
    number = int.from_bytes(secrets.token_bytes(_BYTES))
    digits: list[str] = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return _PREFIXES[scope] + "".join(digits)


def _hash(args: argparse.Namespace) -> int:
    from jobmon.server import passwords

    if not re.fullmatch(access.USER, args.name):
        raise TokenError("the name of a user has 1 to 64 letters, digits and . _ @ -")
    password = _password()
    if not 0 < len(password) <= passwords.LONGEST or any(byte < 32 for byte in password):
        raise TokenError(f"a password has 1 to {passwords.LONGEST} bytes and no control characters")
    setting = passwords.written(passwords.keep(args.name, args.scope, password))
    if args.format == "json":
        print(json.dumps({"name": args.name, "scope": args.scope, "setting": setting}))
        return Exit.DONE
    say("The line for auth.basic:")
    print(setting)
    return Exit.DONE


def _password() -> bytes:
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().rstrip(b"\r\n")
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise TokenError("the two passwords differ")
    return password.encode()
