"""Parameters of paths, queries and bodies: each declared once, parsed and described from there.

What is not allowed is told in Laravel's words, so that clients that show them go on working.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from starlette.datastructures import QueryParams

from jobmon.metrics.compat import EXPORTERS

Schema: TypeAlias = dict[str, Any]
Q = TypeVar("Q", bound="Query")

LONGEST_NAME: Final = 255
MOST_DAYS: Final = 365
MOST_PER_PAGE: Final = 100

_MOST: Final = 2**63 - 1
_MOST_DIGITS: Final = 20
_KIND: Final = "jobmon.kind"
_DESCRIPTION: Final = "jobmon.description"
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_POSITIVE: Final = re.compile(r"[1-9][0-9]{0,18}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ENGINE_ID: Final = re.compile(r"[A-Za-z0-9._:\-]{1,255}")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f-\x9f]+$"


class InvalidError(Exception):
    """Some parameters are not allowed."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        super().__init__()
        self.errors = errors
        """Sentences by parameter."""


class _NotAllowedError(Exception):
    """A value is not; holds the sentence about it, `{}` for the parameter's name."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a parameter may have."""

    schema: Schema
    parse: Callable[[str], str | int]
    """Gives the value in its usual form, or raises :class:`_NotAllowedError`."""


def integer(least: int, most: int) -> Kind:
    """A whole number within bounds, of decimal digits alone, as PHP takes them."""

    def parse(given: str) -> int:
        text = given.strip(" ")
        # Python refuses to convert numbers of some thousand digits.
        if not _INTEGER.fullmatch(text) or len(text) > _MOST_DIGITS:
            raise _NotAllowedError("The {} field must be an integer.")
        value = int(text)
        if not least <= value <= most:
            raise _NotAllowedError(f"The {{}} field must be between {least} and {most}.")
        return value

    return Kind({"type": "integer", "minimum": least, "maximum": most}, parse)


def one_of(*words: str) -> Kind:
    """One of some words."""

    def parse(given: str) -> str:
        if given not in words:
            raise _NotAllowedError("The selected {} is invalid.")
        return given

    return Kind({"type": "string", "enum": list(words)}, parse)


def _name(given: str) -> str:
    if len(given) > LONGEST_NAME:
        raise _NotAllowedError(
            f"The {{}} field must not be greater than {LONGEST_NAME} characters."
        )
    if _CONTROLS.search(given):
        raise _NotAllowedError("The {} field format is invalid.")
    return given


def _uuid(given: str) -> str:
    if not _UUID.fullmatch(given):
        raise _NotAllowedError("The {} field must be a valid UUID.")
    return given.lower()


def _engine_id(given: str) -> str:
    if not _ENGINE_ID.fullmatch(given):
        raise _NotAllowedError("The {} field format is invalid.")
    return given


def _page(given: str) -> int:
    return int(given) if _POSITIVE.fullmatch(given) and int(given) <= _MOST else 1


NAME: Final = Kind(
    {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": _NO_CONTROLS}, _name
)
"""A command's."""
UUID: Final = Kind({"type": "string", "format": "uuid"}, _uuid)
"""In its usual form, of any case; the value is in lower case."""
ENGINE_ID: Final = Kind({"type": "string", "pattern": f"^{_ENGINE_ID.pattern}$"}, _engine_id)
"""An id that an engine gave to a job, or a number."""
PAGE: Final = Kind({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}, _page)
"""Whatever is no number from 1 on is 1."""
CURSOR: Final = Kind({"type": "string"}, str)
"""Whatever is none is the beginning."""


def parameter(kind: Kind, description: str, default: Any = None) -> Any:
    """A field of a query.

    Args:
        kind: What values it may have.
        description: For the document.
        default: While it is absent or empty; `...` for one that must be there.
    """
    metadata = {_KIND: kind, _DESCRIPTION: description}
    return field(default=MISSING if default is ... else default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Parameters of one endpoint; subclasses declare them with :func:`parameter`.

    In a query names that are not declared are ignored, of one that is repeated the last counts, an
    empty value is none. A body is an object that holds no other names, or nothing at all.
    """

    given: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those that were, in their usual form and in the order of their declaration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paged(Query):
    """Of a list in pages."""

    page: int = parameter(PAGE, "Number of the page; whatever is no number from 1 on is 1.", 1)
    per_page: int = parameter(integer(1, MOST_PER_PAGE), "Entries of a page.", 15)


_OF_LISTS: Final = frozenset(one.name for one in fields(Paged))


class _Parameter(NamedTuple):
    name: str
    kind: Kind
    description: str
    default: Any
    """MISSING: it must be given."""


def parse(kind: type[Q], query: bytes) -> Q:
    """Read the parameters of a request.

    Raises:
        InvalidError: Some are not allowed.
    """
    return _parsed(kind, QueryParams(query), {})


def parse_body(kind: type[Q], body: bytes) -> Q:
    """Read the body of a request, which is JSON or empty.

    Raises:
        InvalidError: It is no object, or some of its members are not allowed.
    """
    found: object = json.loads(body) if body else {}
    if not isinstance(found, dict):
        raise InvalidError({"body": ["The body must be an object."]})
    errors: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    names = {one.name for one in _declared(kind)}
    for name, value in cast("dict[str, object]", found).items():
        title = name.replace("_", " ")
        if name not in names:
            errors[name[:LONGEST_NAME]] = [f"The {title[:LONGEST_NAME]} field is not known."]
        elif value == "":
            errors[name] = [f"The {title} field must have a value."]
        elif isinstance(value, str):
            texts[name] = value
        elif value is not None:
            errors[name] = [f"The {title} field must be a string."]
    return _parsed(kind, texts, errors)


def _parsed(kind: type[Q], texts: Mapping[str, str], errors: dict[str, list[str]]) -> Q:
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for one in _declared(kind):
        text = texts.get(one.name, "")
        title = one.name.replace("_", " ")
        if text:
            try:
                value = values[one.name] = one.kind.parse(text)
                given[one.name] = str(value)
            except _NotAllowedError as refused:
                errors[one.name] = [str(refused).format(title)]
        elif one.default is MISSING and one.name not in errors:
            errors[one.name] = [f"The {title} field is required."]
    if errors:
        raise InvalidError(errors)
    return kind(given=given, **values)


def described(kind: type[Query]) -> list[Schema]:
    """The parameters as OpenAPI describes them."""
    found: list[Schema] = []
    for one in _declared(kind):
        schema = dict(one.kind.schema)
        if one.default is not MISSING and one.default is not None:
            schema["default"] = one.default
        found.append(
            {
                "name": one.name,
                "in": "query",
                "required": one.default is MISSING,
                # As if it were absent.
                "allowEmptyValue": one.default is not MISSING,
                "description": one.description,
                "schema": schema,
            }
        )
    return found


def body_described(kind: type[Query]) -> Schema:
    """The body as OpenAPI describes it."""
    declared = _declared(kind)
    members = {
        one.name: {**one.kind.schema, "type": [one.kind.schema["type"], "null"]}
        | {"description": one.description}
        for one in declared
    }
    return {
        "type": "object",
        "properties": members,
        "required": [one.name for one in declared if one.default is MISSING],
        "additionalProperties": False,
    }


_PATH: Final[dict[str, tuple[Kind, str]]] = {
    "processId": (UUID, "Id of a command run."),
    "jobId": (ENGINE_ID, "The engine's id of a job."),
    "id": (ENGINE_ID, "Number of a failed job, or the engine's id of it."),
    "exporter": (one_of(*EXPORTERS), "The other exporter."),
}
"""Parameters of all paths."""


def path_values(given: Mapping[str, str]) -> dict[str, str] | None:
    """Parameters of a path in their usual form; None: one is not allowed, so nothing is there."""
    try:
        return {name: str(_PATH[name][0].parse(text)) for name, text in given.items()}
    except _NotAllowedError:
        return None


def path_described(names: Sequence[str]) -> list[Schema]:
    """Parameters of a path as OpenAPI describes them."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH[name][1],
            "schema": _PATH[name][0].schema,
        }
        for name in names
    ]


def _declared(kind: type[Query]) -> list[_Parameter]:
    found = _cache.get(kind)
    if found is None:
        found = [
            _Parameter(one.name, one.metadata[_KIND], one.metadata[_DESCRIPTION], one.default)
            for one in fields(kind)
            if _KIND in one.metadata
        ]
        # Those of all lists come after an endpoint's own.
        found.sort(key=lambda one: one.name in _OF_LISTS)
        _cache[kind] = found
    return found


_cache: Final[dict[type[Query], list[_Parameter]]] = {}
