"""Answers of a live server held against the OpenAPI document: what it does not say is a failure."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs

from jobmon.server.app import create_app
from jobmon.server.dispatch import Dispatch
from jobmon.server.endpoints import Endpoint
from jobmon.server.openapi import document
from jobmon.settings import load

_ERRORS = ("SuccessError", "StatusError")


def table(**settings: object) -> list[Endpoint]:
    """Every endpoint of a server; settings by key, ``__`` for the dot."""
    given = {name.replace("__", "."): value for name, value in settings.items()}
    routes = create_app(load(given, environ={}, cwd=Path("/nonexistent"))).routes
    apps = [route.app for route in routes]  # type: ignore[attr-defined]
    return [app.endpoint for app in apps if isinstance(app, Dispatch)]


class Description:
    """The document of a server with some prefix."""

    def __init__(self, prefix: str) -> None:
        self.document: Any = document(table(prefix=prefix), prefix, "")
        self._validators: dict[str, Any] = {}
        paths = self.document["paths"]
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in paths]

    def check(self, answer: httpx.Response) -> None:
        """Fail unless the document allows the answer."""
        method, path = answer.request.method.lower(), answer.request.url.path
        if method == "head":
            return
        names = [name for pattern, name in self._paths if pattern.fullmatch(path)]
        methods = self.document["paths"][names[0]] if names else {}
        where = f"{method} {path} {answer.status_code}"
        if method not in methods or answer.status_code in (405, 408, 413):
            if answer.headers.get("content-type") == "application/json":
                self._valid(where, "error", _any_error(), answer)
            return
        responses = methods[method]["responses"]
        assert str(answer.status_code) in responses, f"{where} is not in the document"
        response = responses[str(answer.status_code)]
        kind = answer.headers.get("content-type", "").partition(";")[0]
        # Prometheus may ask for OpenMetrics.
        content = response.get("content", {})
        if content and not path.startswith("/metrics"):
            assert kind in content, f"{where}: {kind} is not in the document"
        for name in response["headers"]:
            if self.document["components"]["headers"][name]["required"]:
                assert name in answer.headers, f"{where}: no {name}"
        if kind == "application/json" and kind in content:
            name = f"{method} {names[0]} {answer.status_code}"
            self._valid(where, name, content[kind]["schema"], answer)

    def _valid(self, where: str, name: str, schema: Any, answer: httpx.Response) -> None:
        validator = self._validators.get(name)
        if validator is None:
            whole = {**schema, "components": self.document["components"]}
            validator = self._validators[name] = jsonschema_rs.Draft202012Validator(
                whole, validate_formats=True
            )
        for error in validator.iter_errors(answer.json()):
            raise AssertionError(f"{where}: {error}")


@cache
def description(prefix: str) -> Description:
    """The document, made once for each prefix."""
    return Description(prefix)


def _any_error() -> Any:
    return {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in _ERRORS]}
