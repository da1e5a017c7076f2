"""Django's management commands: each is a run, whether the command line or code called it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from jobmon.instrument import invocation
from jobmon.instrument.commands import LONGEST_NAME, exit_code_of
from jobmon.instrument.guard import guarded
from jobmon.instrument.invocation import Entry, Found
from jobmon.instrument.patches import Hook, Patches

KIND: Final = "django"

LEFT_OUT: Final = frozenset(
    """
    celery celerybeat celeryd daphne db_worker process_tasks procrastinate qcluster rqcron
    rqscheduler rqworker rqworker-pool run_huey rundramatiq runmailer runserver runserver_plus
    runworker testserver

    changepassword createsuperuser dbshell shell shell_plus

    check compilemessages diffsettings findstatic graph_models inspectdb makemessages
    makemigrations optimizemigration rqresume rqstats rqsuspend show_urls showmigrations sqlflush
    sqlmigrate sqlsequencereset squashmigrations startapp startproject test
    """.split()
)
"""What serves until it is told to stop, what talks with a person, and what only tests, prints
or writes code."""

_MUTING: Final = frozenset({"test", "testserver"})
_NOT_SHOWN: Final = frozenset(
    """
    force_color no_color pythonpath settings skip_checks stderr stdout traceback verbosity
    """.split()
)
"""Options of every command, which say how it runs rather than what it does."""
_NAME: Final = "_jobmon_name"
_PARSER: Final = "_jobmon_parser"

_patches: Final = Patches()
_loaders: tuple[Callable[..., Any], Callable[..., Any]] | None = None


def install() -> None:
    """Hook Django; call it once ``django.core.management`` is imported."""
    global _loaders
    management = _management()
    _patches.wrap([management.BaseCommand], _HOOKS)
    if _loaders is None:
        original: Callable[..., Any] = management.load_command_class
        _loaders = original, _naming(original)
        management.load_command_class = _loaders[1]


def uninstall() -> None:
    """Restore it."""
    global _loaders
    management = _management()
    _patches.undo()
    if _loaders is not None and management.load_command_class is _loaders[1]:
        management.load_command_class = _loaders[0]
    _loaders = None


def _management() -> Any:
    return sys.modules["django.core.management"]


def _naming(original: Callable[..., Any]) -> Callable[..., Any]:
    """The loader that knows the name of a command, whose class may come from anywhere."""

    @functools.wraps(original)
    def load_command_class(app_name: Any, name: Any) -> Any:
        command = original(app_name, name)
        _remember(command, name)
        return command

    return load_command_class


@guarded
def _remember(command: Any, name: Any) -> None:
    setattr(command, _NAME, str(name))


def _entering(command: Any, argv: Any) -> Entry:
    _remember(command, argv[1])
    return Entry(KIND, argv)


def _left(entry: Entry | None, _result: Any, error: BaseException | None) -> None:
    if entry is not None:
        entry.leave(_exit_code_of(error), error)


def _parsing(command: Any, *_args: Any, **_kwargs: Any) -> Any:
    return command


def _parsed(command: Any, parser: Any, _error: BaseException | None) -> None:
    if parser is not None:
        setattr(command, _PARSER, parser)


def _begun(command: Any, *args: Any, **options: Any) -> Entry:
    # Django itself names a command that it is given as an object by its module.
    name = getattr(command, _NAME, None) or type(command).__module__.rpartition(".")[2]
    arguments, shown = _params(command, args, options)
    name = str(name)[:LONGEST_NAME]
    found = Found(KIND, name, arguments, shown, name in LEFT_OUT, name in _MUTING)
    return invocation.begin(found)


def _ended(entry: Entry | None, _result: Any, error: BaseException | None) -> None:
    if entry is not None:
        entry.end(_exit_code_of(error), error)


_HOOKS: Final = (
    Hook("create_parser", _parsing, _parsed),
    Hook("run_from_argv", _entering, _left),
    Hook("execute", _begun, _ended),
)


def _params(
    command: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[dict[str, object], dict[str, object]]:
    positional = set(_positional(getattr(command, _PARSER, None)))
    arguments: dict[str, object] = {"args": list(args)} if args else {}
    shown: dict[str, object] = {}
    for name, value in options.items():
        if name in positional:
            arguments[name] = value
        elif name not in _NOT_SHOWN:
            shown[name] = value
    return arguments, shown


def _positional(parser: Any) -> Iterator[str]:
    """Names of what its command line takes without a dash, in parsers of sub-commands too."""
    for action in getattr(parser, "_actions", ()):
        if action.option_strings:
            continue
        yield action.dest
        choices: Any = action.choices
        if isinstance(choices, dict):
            for below in cast("dict[str, Any]", choices).values():
                yield from _positional(below)


def _exit_code_of(error: BaseException | None) -> int:
    """What Django ends a program with."""
    if isinstance(error, _management().CommandError):
        code: object = getattr(error, "returncode", 1)
        return code if isinstance(code, int) else 1
    return exit_code_of(error)
