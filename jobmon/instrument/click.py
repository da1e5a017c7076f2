"""Click, and so Typer and Flask's CLI: each command that a program's entry leads to is a run.

A command called by another through ``ctx.invoke`` or ``ctx.forward`` is a function call to
Click, and part of the same run.
"""

from __future__ import annotations

from typing import Any, Final

from jobmon.instrument import invocation
from jobmon.instrument.commands import LONGEST_NAME, exit_code_of
from jobmon.instrument.invocation import Entry, Found
from jobmon.instrument.patches import Hook, Patches
from jobmon.instrument.redaction import REDACTED

KIND: Final = "click"

TOOLS: Final = frozenset(
    """
    arq black celery click dask distributed dotenv fastapi_cli flask flask_shell_ipython flower
    granian hypercorn litestar quart rq streamlit typer uvicorn watchfiles
    """.split()
)
"""Packages whose own commands serve, run workers or are tools of Python. A command of yours
that is plugged into one of their programs (``flask orders import``) is yours."""

_RAISED_BY_CLICK: Final = ("click.exceptions", "typer._click.exceptions", "typer.exceptions")

_patches: Final = Patches()


def install() -> None:
    """Hook Click; call it once Click is imported."""
    from click.core import Command

    _patches.wrap([Command], [_ENTRY, _BODY])


def install_typer() -> None:
    """Hook Typer, which has entries of its own and, since 0.26, a Click of its own."""
    from typer.core import TyperCommand, TyperGroup

    _patches.wrap([TyperCommand, TyperGroup], [_ENTRY])
    _patches.wrap([TyperCommand], [_BODY])


def uninstall() -> None:
    """Restore both."""
    _patches.undo()


def _entering(_command: Any, *args: Any, **kwargs: Any) -> Entry:
    return Entry(KIND, args[0] if args else kwargs.get("args"))


def _left(entry: Entry | None, _result: Any, error: BaseException | None) -> None:
    if entry is None:
        return
    # Outside of standalone mode, main() hands the code of an Exit back as if it were a value.
    ended_by = entry.raised if error is None and _is_exit(entry.raised) else error
    entry.leave(_exit_code_of(ended_by), error)


def _begun(command: Any, ctx: Any, *_args: Any, **_kwargs: Any) -> Entry | None:
    if command.callback is None or ctx.invoked_subcommand:
        return None  # a group on the way to its command
    arguments, options = _params(ctx)
    module: object = getattr(command.callback, "__module__", None)
    package = module.partition(".")[0] if isinstance(module, str) else ""
    found = Found(KIND, _name(ctx), arguments, options, left_out=package in TOOLS)
    return invocation.begin(found)


def _ended(entry: Entry | None, _result: Any, error: BaseException | None) -> None:
    if entry is not None:
        entry.end(_exit_code_of(error), error)


_ENTRY: Final = Hook("main", _entering, _left)
_BODY: Final = Hook("invoke", _begun, _ended)


def _name(ctx: Any) -> str:
    """Names from the outermost group's command down; of a program without any, its own."""
    names: list[str] = []
    while ctx.parent is not None:
        names.append(_name_in_group(ctx))
        ctx = ctx.parent
    if not names:
        # A file, a script on PATH, or "python -m" and a module.
        program = str(ctx.info_name or ctx.command.name or "").replace("\\", "/")
        names = [program.rpartition("/")[2].rpartition(" ")[2].removesuffix(".py")]
    return ":".join(reversed(names))[:LONGEST_NAME]


def _name_in_group(ctx: Any) -> str:
    """As registered: what was typed may be an alias, or the start of a name."""
    typed, registered = ctx.info_name, getattr(ctx.parent.command, "commands", None)
    if isinstance(registered, dict) and typed in registered:
        return str(typed)
    return str(ctx.command.name or typed or "")


def _params(ctx: Any) -> tuple[dict[str, object], dict[str, object]]:
    """Arguments and options of the command and the groups it is in."""
    path = [ctx]
    while path[-1].parent is not None:
        path.append(path[-1].parent)
    arguments: dict[str, object] = {}
    options: dict[str, object] = {}
    for each in reversed(path):
        for param in each.command.params:
            if param.name not in each.params:
                continue
            held = arguments if param.param_type_name == "argument" else options
            hidden = getattr(param, "hide_input", False)
            held[param.name] = REDACTED if hidden else each.params[param.name]
    return arguments, options


def _exit_code_of(error: BaseException | None) -> int:
    """What Click ends a program with."""
    code: object = getattr(error, "exit_code", None)
    return code if isinstance(code, int) and _is_clicks(error) else exit_code_of(error)


def _is_exit(error: BaseException | None) -> bool:
    return type(error).__name__ == "Exit" and _is_clicks(error)


def _is_clicks(error: BaseException | None) -> bool:
    return any(cls.__module__ in _RAISED_BY_CLICK for cls in type(error).__mro__)
