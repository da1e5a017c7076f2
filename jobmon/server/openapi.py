"""The OpenAPI document, written from the table of endpoints: it cannot say anything else."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from importlib.metadata import version
from itertools import pairwise
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from jobmon.answers.errors import StatusError, StatusInvalid, SuccessError, SuccessInvalid
from jobmon.server import query
from jobmon.server.endpoints import Action, Endpoint, Message, Text
from jobmon.server.examples import EXAMPLES
from jobmon.server.responses import Style

Schema: TypeAlias = dict[str, Any]

_JSON: Final = "application/json"
_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DESCRIPTION: Final = (
    "Command runs, their Celery and RQ jobs, queues and failures. Three envelopes, each kept by "
    "its endpoints: `success`, `status`, and none. Times are UTC, durations seconds, memory bytes. "
    "`HEAD` is answered wherever `GET` is, with the same headers and no body."
)
_TAGS: Final = {
    "Overview": "Everything at a glance.",
    "Jobs": "Failed jobs, late ones, and each by its id.",
    "Commands": "Command runs and the records of their jobs.",
    "Metrics": "The history in numbers.",
    "Analysis": "What is not normal.",
    "Processes": "Workers, schedulers and what they send.",
    "Monitoring": "For machines, outside the prefix.",
    "Document": "This API, described.",
}
_ERRORS: Final = {
    HTTPStatus.BAD_REQUEST: "A foreign `Host`, a path that cannot be decoded, or malformed JSON.",
    HTTPStatus.UNAUTHORIZED: "No token, or an unknown one.",
    HTTPStatus.FORBIDDEN: "The scope does not allow it.",
    HTTPStatus.NOT_FOUND: "There is none.",
    HTTPStatus.REQUEST_TIMEOUT: "The body took too long to arrive.",
    HTTPStatus.CONFLICT: "Not now.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is longer than 64 KiB.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is no `application/json`.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Parameters are not allowed.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A defect; in style success also: something is away.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Something that it needs is away, or too much is in work.",
}
_HEADERS: Final[dict[str, tuple[str, Schema]]] = {
    "x-request-id": ("The request's, if it has 1 to 64 of A-Za-z0-9_-.", {"type": "string"}),
    "x-ratelimit-limit": ("Requests a minute.", {"type": "integer"}),
    "x-ratelimit-remaining": ("Requests left at once.", {"type": "integer"}),
    "x-ratelimit-reset": ("When all are left again, Unix seconds.", {"type": "integer"}),
    "retry-after": ("Seconds to wait.", {"type": "integer", "minimum": 1}),
    "www-authenticate": ("How to say who asks.", {"type": "string"}),
    "x-total-count": ("Entries beyond the limit included.", {"type": "integer", "minimum": 0}),
    "link": ("Leads to the next page.", {"type": "string"}),
    "etag": ("For `If-None-Match`.", {"type": "string"}),
}
_ETAG: Final = "etag"
_EVERYWHERE: Final = ("x-request-id",)
_LIMITED: Final = ("x-ratelimit-limit", "x-ratelimit-remaining")
_BEFORE_LIMIT: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    }
)
"""Errors of requests that nobody has counted yet."""
_OF_STATUS: Final = {
    HTTPStatus.UNAUTHORIZED: ("www-authenticate",),
    HTTPStatus.TOO_MANY_REQUESTS: (*_LIMITED, "retry-after", "x-ratelimit-reset"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("retry-after",),
}
_REQUIRED: Final = frozenset({"x-request-id", "www-authenticate", "x-total-count", "etag"})
_SECURITY: Final[list[Schema]] = [{"bearer": []}, {"basic": []}]


def document(table: Sequence[Endpoint], prefix: str, base: str) -> Schema:
    """The OpenAPI 3.1 document of these endpoints.

    Args:
        table: All of them.
        prefix: The setting.
        base: Address that their paths are below, without a slash at the end.
    """
    operations = list(_operations(table))
    names = {
        Style.SUCCESS: (SuccessError, SuccessInvalid),
        Style.STATUS: (StatusError, StatusInvalid),
    }
    adapters: list[tuple[str, Any, TypeAdapter[Any]]] = [
        (operation_id(method, endpoint, prefix), "serialization", action.adapter)
        for endpoint, method, action in operations
        if action.has_data
    ]
    adapters += [
        (kind.__name__, "serialization", TypeAdapter(kind))
        for some in names.values()
        for kind in some
    ]
    schemas, definitions = TypeAdapter.json_schemas(
        adapters,
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    answers = {name: schema for (name, _), schema in schemas.items()}
    paths: dict[str, Schema] = {}
    for endpoint, method, action in operations:
        described = paths.setdefault(endpoint.path, _path(endpoint))
        described[method.lower()] = _operation(endpoint, method, action, prefix, answers)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobmon",
            "version": version("jobmon"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base or "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "headers": {
                name: {"description": text, "required": name in _REQUIRED, "schema": schema}
                for name, (text, schema) in _HEADERS.items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of a scope: `read`, `operate` or `metrics`.",
                },
                "basic": {"type": "http", "scheme": "basic", "description": "A user of a scope."},
            },
        },
    }


def operation_id(method: str, endpoint: Endpoint, prefix: str) -> str:
    """A name for what a method of an endpoint does, such as ``getCommandsByProcessIdJobs``."""
    below = endpoint.path.removeprefix(f"/{prefix}/")
    words = re.split(r"[^A-Za-z{}]+", below.strip("/"))
    return method.lower() + "".join(
        f"By{word[1:2].upper()}{word[2:-1]}" if word[0] == "{" else word[:1].upper() + word[1:]
        for word in words
    )


class _Schemas(GenerateJsonSchema):
    """With docstrings, without titles, which would only say the names again."""

    def dataclass_schema(self, schema: Any) -> Schema:
        described = super().dataclass_schema(schema)
        kind: type = schema["cls"]
        described.pop("title", None)
        described["description"] = inspect.getdoc(kind) or ""
        for name, text in _field_texts(kind).items():
            described["properties"][name.rstrip("_")]["description"] = text
        return described

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name.replace("[", "Of").replace("]", ""))


def _field_texts(kind: type) -> dict[str, str]:
    """The docstrings of a dataclass's fields, which Python forgets."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    found: dict[str, str] = {}
    if isinstance(body, ast.ClassDef):
        for one, following in pairwise(body.body):
            match one, following:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = inspect.cleandoc(text)
                case _:
                    pass
    return found


def _operations(table: Sequence[Endpoint]) -> Iterator[tuple[Endpoint, str, Action]]:
    for endpoint in table:
        for method, action in endpoint.actions.items():
            yield endpoint, method, action


def _path(endpoint: Endpoint) -> Schema:
    variables = _VARIABLE.findall(endpoint.path)
    return {"parameters": query.path_described(variables)} if variables else {}


def _operation(
    endpoint: Endpoint, method: str, action: Action, prefix: str, answers: dict[str, Schema]
) -> Schema:
    name = operation_id(method, endpoint, prefix)
    scope = "Everybody may." if action.permission is None else f"Scope `{action.permission}`."
    described: Schema = {
        "operationId": name,
        "summary": action.summary,
        "description": scope,
        "tags": [endpoint.tag],
        "security": [] if action.permission is None else [*_SECURITY],
        "responses": {},
    }
    if endpoint.anonymous:
        described["security"].append({})
    if action.query is not None:
        described["parameters"] = query.described(action.query)
    if action.body is not None:
        body = {_JSON: {"schema": query.body_described(action.body)}}
        described["requestBody"] = {"required": False, "content": body}
    responses = described["responses"]
    responses["200"] = _response(
        "As asked.",
        [*_headers(action), *action.headers],
        _content(endpoint.style, action, answers.get(name), EXAMPLES.get(name)),
    )
    if _ETAG in action.headers:
        responses["304"] = _response("Known already.", [*_headers(action), *action.headers])
    for status in sorted({*_errors(endpoint, action, method)}):
        kind = _error_kind(endpoint.style, status)
        content: Schema = {_JSON: {"schema": answers[kind.__name__]}}
        common = _EVERYWHERE if status in _BEFORE_LIMIT else _headers(action)
        headers = [*common, *_OF_STATUS.get(status, ())]
        if status is HTTPStatus.SERVICE_UNAVAILABLE and action.unwell:
            unwell = _content(endpoint.style, action, answers.get(name), None, succeeded=False)
            content[_JSON]["schema"] = {
                "anyOf": [unwell[_JSON]["schema"], content[_JSON]["schema"]]
            }
        responses[str(int(status))] = _response(_ERRORS[status], headers, content)
    return described


def _errors(endpoint: Endpoint, action: Action, method: str) -> Iterator[HTTPStatus]:
    yield from action.errors
    yield HTTPStatus.BAD_REQUEST
    yield HTTPStatus.INTERNAL_SERVER_ERROR
    yield HTTPStatus.SERVICE_UNAVAILABLE
    if action.permission is not None:
        yield HTTPStatus.UNAUTHORIZED
        yield HTTPStatus.FORBIDDEN
        yield HTTPStatus.TOO_MANY_REQUESTS
    if _VARIABLE.search(endpoint.path):
        yield HTTPStatus.NOT_FOUND
    if action.query is not None or action.body is not None:
        yield HTTPStatus.UNPROCESSABLE_ENTITY
    if method in _UNSAFE:
        yield HTTPStatus.REQUEST_TIMEOUT
        yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        yield HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def _error_kind(style: Style, status: HTTPStatus) -> type:
    is_invalid = status is HTTPStatus.UNPROCESSABLE_ENTITY
    if style is Style.SUCCESS:
        return SuccessInvalid if is_invalid else SuccessError
    return StatusInvalid if is_invalid else StatusError


def _headers(action: Action) -> tuple[str, ...]:
    return (*_EVERYWHERE, *_LIMITED) if action.cost else _EVERYWHERE


def _response(description: str, headers: Sequence[str], content: Schema | None = None) -> Schema:
    described: Schema = {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
    }
    if content is not None:
        described["content"] = content
    return described


def _content(
    style: Style, action: Action, data: Schema | None, example: object, *, succeeded: bool = True
) -> Schema:
    if isinstance(action.answer, Text):
        kind = "object" if action.answer.media_type == _JSON else "string"
        return {action.answer.media_type: {"schema": {"type": kind}}}
    members: Schema = {}
    if style is Style.SUCCESS:
        members["success"] = {"const": succeeded}
    elif style is Style.STATUS:
        members["status"] = {"const": "success"}
    if action.answer is Message:
        members["message"] = {"type": "string", "description": "For people."}
    elif data is not None:
        members["data"] = data
    schema: Schema = {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }
    described: Schema = {"schema": data if style is Style.BARE and data is not None else schema}
    if example is not None:
        described["example"] = example
    return {_JSON: described}
