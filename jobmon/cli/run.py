"""``jobmon run NAME -- CMD…``: a program as a command, its Python children instrumented.

The program's exit code comes first: nothing that goes wrong here changes it. Once the child is
made, the runner's own signals wait or are the program's: what is raised here is a defect of ours.
"""

from __future__ import annotations

import argparse
import atexit
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from jobmon.cli import say
from jobmon.inert import inert
from jobmon.instrument.child_process import (
    CannotStartError,
    Child,
    environment,
    runner_path,
    signal_name,
)

if TYPE_CHECKING:
    from jobmon.instrument.commands import Run

_USAGE: Final = "jobmon run [-h] NAME [--source SOURCE] -- CMD ..."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what ``jobmon run`` takes."""
    parser.usage = _USAGE
    parser.epilog = (
        "Ends with the program's exit code: 128 + n if signal n ended it, 127 if it is not "
        "there, 126 if it cannot be executed."
    )
    parser.add_argument(
        "--source", metavar="SOURCE", help="where the run was started from (default: console)"
    )
    # Everything after "--" is the program's; argparse would take a second "--" out of it.
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="NAME -- CMD ...")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Run the program and record it."""
    name, source, program = _parsed(args)
    child = Child()
    variables = dict(os.environ)
    began = _begin(name, source, program)
    if began is not None:
        variables = _attached(variables, began, program)
    try:
        code, error_type = child.run(program, variables), ""
    except CannotStartError as error:
        _say(str(error))
        code, error_type = error.exit_code, "CannotStart"
    if began is not None:
        try:
            _end(began, code, error_type, program)
        except BaseException as error:
            _say(f"the end of this run is not recorded: {error!r}")
    return code


def _parsed(args: argparse.Namespace) -> tuple[str, str | None, list[str]]:
    words: list[str] = args.words
    if "--" not in words:
        args.refuse("the program is missing: jobmon run NAME -- CMD ...")
    end = words.index("--")
    mine, program = words[:end], words[end + 1 :]
    source: str | None = args.source
    if len(mine) > 1 and mine[1].startswith("--source="):
        source = mine.pop(1).partition("=")[2]
    elif len(mine) > 2 and mine[1] == "--source":
        source = mine[2]
        del mine[1:3]
    if len(mine) != 1:
        args.refuse(f"one NAME is expected before --, not {len(mine)} words")
    if not program:
        args.refuse("the program after -- is missing")
    try:
        from jobmon.instrument.commands import checked_name

        checked_name(mine[0])
    except ValueError as error:
        args.refuse(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _say(f"the name is not checked: {error!r}")
    return mine[0], source, program


def _begin(name: str, source: str | None, program: Sequence[str]) -> Run | None:
    try:
        from jobmon.instrument.commands import DEFAULT_SOURCE, Run

        _set_up_sdk()
        began = Run(name, source or DEFAULT_SOURCE)
        began.begin("script", _arguments(program, "all"))
        return began
    except BaseException as error:
        _say(f"this run is not recorded: {error!r}")
        return None


def _attached(variables: dict[str, str], began: Run, program: Sequence[str]) -> dict[str, str]:
    try:
        from jobmon.instrument import context, invocation

        span = began.frame.span
        run = {
            context.PROCESS_ID_VARIABLE: began.id,
            context.COMMAND_VARIABLE: began.name,
            context.STARTED_AT_VARIABLE: str(began.started_at),
            context.PROGRAM_VARIABLE: invocation.marks(program),
        }
        if span is not None and span.traceparent:
            carrier: dict[str, Any] = {}
            from jobmon.instrument import spans

            spans.inject(carrier, span.traceparent)
            run |= {key.upper(): str(value) for key, value in carrier.items()}
        return environment(variables, run, runner_path())
    except BaseException as error:
        _say(f"the program's jobs are not attached to this run: {error!r}")
        return variables


def _end(began: Run, code: int, error_type: str, program: Sequence[str]) -> None:
    """Record the end, and wait for all of it to leave within ``recorder.shutdown_timeout``."""
    from jobmon.cli import sdk
    from jobmon.instrument import commands, recorder, spans

    began.finish(
        code,
        error_type=error_type or signal_name(code),
        arguments=_arguments(program, "failed") if code else None,
    )
    settings = commands.ready()
    timeout = settings.recorder.shutdown_timeout if settings is not None else 0.0
    deadline = time.monotonic() + timeout
    exporting = threading.Thread(target=spans.flush_spans, args=(timeout,), daemon=True)
    exporting.start()
    recorder.shutdown()
    exporting.join(max(0.0, deadline - time.monotonic()))
    # Both would try once more at exit, each as long again.
    atexit.unregister(recorder.shutdown)
    sdk.forget_at_exit()


def _arguments(program: Sequence[str], least: str) -> dict[str, object] | None:
    """The program's words, where ``arguments.record`` lets people see them."""
    from jobmon.instrument import commands

    settings = commands.ready()
    wanted = settings.arguments.record if settings is not None else "none"
    return {"command": list(program)} if wanted in ("all", least) else None


def _set_up_sdk() -> None:
    """Export this process's own span where the environment asks for it."""
    try:
        from jobmon.cli import sdk

        trouble = sdk.set_up()
    except BaseException as error:
        trouble = repr(error)
    if trouble:
        _say(f"no span of this run is exported: {trouble}")


def _say(message: str) -> None:
    say(f"jobmon run: {inert(message)}")
