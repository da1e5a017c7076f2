"""Where values come from, highest first: the call, environment, jobmon.toml, pyproject.toml."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from jobmon.errors import UsageError
from jobmon.settings.schema import (
    CONNECTION_KEYS,
    ENV_PREFIX,
    KEYS,
    LATER_KEYS,
    OWN_VARIABLES,
    Key,
    Section,
    Settings,
    variable,
)

_log = logging.getLogger("jobmon.settings")

_CONNECTIONS: Final = "redis.connections"
_BY_VARIABLE: Final = {key.variable: key for key in KEYS.values()}
_BY_FILE_VARIABLE: Final = {f"{key.variable}_FILE": key for key in KEYS.values() if key.secret}
_LATER_VARIABLES: Final = {variable(name): name for name in LATER_KEYS}

_already_warned: set[str] = set()


class SettingsError(UsageError):
    """The configuration cannot be used: every problem found, one a line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        headline = f"invalid configuration ({count} problem{'s' if count > 1 else ''}):"
        super().__init__("\n  ".join((headline, *self.problems)))


class _Raw(NamedTuple):
    value: object
    source: str


class _Found(NamedTuple):
    """What one reading of all sources gave."""

    settings: Settings
    problems: list[str]
    warnings: list[str]


def load(
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Read the configuration, for the server, the CLI and tests.

    Args:
        overrides: Values of the call or the command line by dotted key; ``None`` is unset.
        environ: Environment; the process's own if not given.
        cwd: Where ``jobmon.toml`` and ``pyproject.toml`` are looked for; the current directory
            if not given.

    Raises:
        SettingsError: Something is not allowed; names all of it at once.
    """
    found = _read(overrides, environ, cwd)
    if found.problems:
        raise SettingsError(found.problems)
    _warn(found.warnings)
    return found.settings


def load_for_worker(
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Read the configuration in somebody else's process, as `load` does, but never raise.

    What is not allowed is logged, once in this process, and the default takes its place.
    """
    try:
        found = _read(overrides, environ, cwd)
    except Exception:
        _log.warning("jobmon could not read its configuration; defaults apply", exc_info=True)
        return Settings()
    _warn(f"{problem}; the default applies" for problem in found.problems)
    _warn(found.warnings)
    return found.settings


def _warn(messages: Iterable[str]) -> None:
    for message in messages:
        if message not in _already_warned:
            _already_warned.add(message)
            _log.warning("%s", message)


def _read(
    overrides: Mapping[str, object] | None,
    environ: Mapping[str, str] | None,
    cwd: Path | None,
) -> _Found:
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    warnings: list[str] = []
    call = {
        name: _Raw(value, "the call")
        for name, value in (overrides or {}).items()
        if value is not None
    }
    _refuse_unknown(call, problems)
    variables = _from_environment(environ, problems, warnings)
    try:
        files = _from_files(environ, cwd or Path.cwd(), problems)
    except FileNotFoundError:  # the current directory is gone
        files = []

    values: dict[str, object] = {}
    origins: dict[str, str] = {}

    def resolve(key: Key, layers: Iterable[Mapping[str, _Raw]]) -> None:
        raw = next((layer[key.name] for layer in layers if key.name in layer), None)
        if raw is None:
            return
        try:
            values[key.name] = key.rule(raw.value)
        except ValueError as error:
            problems.append(_refusal(key, raw, str(error)))
        else:
            origins[key.name] = raw.source

    resolve(KEYS["redis.connection"], (call, variables, *files))
    name = values.get("redis.connection", "default")
    if name != "default":
        source = origins["redis.connection"]
        files = _with_connection(files, str(name), source, problems)
    for key in KEYS.values():
        if key.name != "redis.connection":
            resolve(key, (call, variables, *files))

    middleware = cast("tuple[str, ...]", values.get("middleware", ()))
    if "auth:sanctum" in middleware:
        warnings.append("middleware: auth:sanctum means auth:token here; write auth:token")
        values["middleware"] = tuple(
            "auth:token" if one == "auth:sanctum" else one for one in middleware
        )
    settings = _build(Settings, values, "", origins=origins, warnings=tuple(warnings))
    return _Found(settings, problems, warnings)


def _build(section: type[Any], values: Mapping[str, object], before: str, **more: object) -> Any:
    arguments: dict[str, object] = dict(more)
    for one in section.__dataclass_fields__.values():
        name = before + one.name
        nested = one.metadata.get("section")
        if nested is not None and issubclass(nested, Section):
            arguments[one.name] = _build(nested, values, f"{name}.")
        elif name in values:
            arguments[one.name] = values[name]
    return section(**arguments)


def _refusal(key: Key, raw: _Raw, detail: str) -> str:
    value = "the value" if key.secret else _short(raw.value)
    return (
        f"{key.name}: {value} from {raw.source} is not allowed"
        f"{f' ({detail})' if detail else ''}; expected {key.rule.allowed}"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


# ---- environment


def _from_environment(
    environ: Mapping[str, str], problems: list[str], warnings: list[str]
) -> dict[str, _Raw]:
    found: dict[str, _Raw] = {}
    for name, text in environ.items():
        if not name.startswith(ENV_PREFIX) or not text:
            continue
        if name in _BY_VARIABLE:
            found[_BY_VARIABLE[name].name] = _Raw(text, name)
        elif name not in _BY_FILE_VARIABLE and name not in OWN_VARIABLES:
            warnings.append(_unknown_variable(name))
    for name, key in _BY_FILE_VARIABLE.items():
        path = environ.get(name)
        if not path:
            continue
        if key.name in found:
            problems.append(f"{key.name}: {key.variable} and {name} are both set; keep one")
            continue
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.append(f"{key.name}: cannot read {path!r} of {name}: {reason}")
            continue
        if text:
            found[key.name] = _Raw(text, name)
    return found


def _unknown_variable(name: str) -> str:
    later = _LATER_VARIABLES.get(name)
    if later is not None:
        return f"{name} is ignored: {later} is not supported by this version of jobmon"
    near = _nearest(name, (*_BY_VARIABLE, *_BY_FILE_VARIABLE, *OWN_VARIABLES))
    return f"{name} is ignored: jobmon knows no such variable{near}"


# ---- files


def _from_files(
    environ: Mapping[str, str], cwd: Path, problems: list[str]
) -> list[dict[str, _Raw]]:
    """The layers of ``jobmon.toml`` and ``pyproject.toml``, highest first."""
    named = environ.get("JOB_MONITOR_CONFIG")
    main = Path(named) if named else cwd / "jobmon.toml"
    layers: list[dict[str, _Raw]] = []
    content = _bytes_of(main, f"{main} of JOB_MONITOR_CONFIG" if named else "", problems)
    if content is not None:
        tables = _toml(content, main, problems)
        layers.append({name: _Raw(value, f"{main}: {name}") for name, value in _leaves(tables)})
    project = cwd / "pyproject.toml"
    content = _bytes_of(project, "", problems)
    # Most projects say nothing about jobmon there: a worker's start need not parse their file.
    if content is not None and b"jobmon" in content:
        tool = _toml(content, project, problems).get("tool")
        table: object = (
            cast("dict[str, object]", tool).get("jobmon") if isinstance(tool, dict) else None
        )
        if isinstance(table, dict):
            source = f"{project}: tool.jobmon."
            leaves = _leaves(cast("dict[str, object]", table))
            layers.append({name: _Raw(value, source + name) for name, value in leaves})
    for layer in layers:
        _refuse_unknown(layer, problems)
    return layers


def _bytes_of(path: Path, required_as: str, problems: list[str]) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if required_as or not isinstance(error, FileNotFoundError | NotADirectoryError):
            problems.append(f"cannot read {required_as or path}: {error.strerror}")
        return None


def _toml(content: bytes, path: Path, problems: list[str]) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path} is not valid TOML: {error}")
        return {}


def _leaves(tables: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tables.items():
        dotted = before + name
        if isinstance(value, dict) and dotted not in KEYS:
            yield from _leaves(cast("dict[str, object]", value), f"{dotted}.")
        else:
            yield dotted, value


def _connection_part(name: str) -> tuple[str, str] | None:
    """``(set, key)`` of ``redis.connections.<set>.<key>``."""
    if not name.startswith(f"{_CONNECTIONS}."):
        return None
    which, _, key = name.removeprefix(f"{_CONNECTIONS}.").rpartition(".")
    return which, key


def _refuse_unknown(layer: Mapping[str, _Raw], problems: list[str]) -> None:
    for name, raw in layer.items():
        part = _connection_part(name)
        if name in KEYS or (part is not None and part[0] and part[1] in CONNECTION_KEYS):
            continue
        if name in LATER_KEYS:
            problems.append(f"{name}: not supported by this version of jobmon (in {raw.source})")
        else:
            near = (
                _nearest(name, (*KEYS, *LATER_KEYS))
                if part is None
                else (f"; a set in [{_CONNECTIONS}] holds {', '.join(sorted(CONNECTION_KEYS))}")
            )
            problems.append(f"{name}: no such setting (in {raw.source}){near}")


def _with_connection(
    files: list[dict[str, _Raw]], name: str, source: str, problems: list[str]
) -> list[dict[str, _Raw]]:
    """The layers with the named set in the place of ``[redis]``'s own connection.

    The set stands alone, so that no password of one server is ever sent to another.
    """
    known: set[str] = set()
    chosen: list[dict[str, _Raw]] = []
    for layer in files:
        kept = {
            key: raw
            for key, raw in layer.items()
            if not (key.startswith("redis.") and key.removeprefix("redis.") in CONNECTION_KEYS)
        }
        for key, raw in layer.items():
            part = _connection_part(key)
            if part is not None:
                known.add(part[0])
                if part[0] == name:
                    kept[f"redis.{part[1]}"] = raw
        chosen.append(kept)
    if name not in known:
        names = ", ".join(sorted(known | {"default"}))
        problems.append(
            f"redis.connection: {name!r} from {source} is not allowed; expected one of {names}"
        )
    return chosen


def _nearest(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
