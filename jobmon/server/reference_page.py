"""The OpenAPI document as one page of HTML that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final, cast

_STYLE: Final = """
:root{color-scheme:light dark;--line:#8885;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem}
h1,h2,h3,h4{line-height:1.2}h2{margin-top:3rem}h3{margin-top:2.5rem}
code,pre{font:.875em/1.45 ui-monospace,monospace}code{overflow-wrap:anywhere}
pre{background:var(--soft);padding:.75rem;overflow-x:auto}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;
border-bottom:1px solid var(--line)}
nav ul{padding-left:1.2rem}.method{font-weight:700}
"""
STYLE_HASH: Final = f"sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}"
"""For the page's Content-Security-Policy."""
_SCHEMAS: Final = "#/components/schemas/"


def page(document: dict[str, Any]) -> str:
    """Every operation with its parameters and answers, then every object with its fields."""
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)}: HTTP API</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}: HTTP API</h1><p>{_text(info['description'])}</p>",
            '<p>For programs: <a href="openapi.json">openapi.json</a></p>',
            *_contents(document),
            "<main>",
            *_operations(document),
            "<h2>Objects</h2>",
            *_objects(document["components"]["schemas"]),
            "</main></body></html>",
        )
    )


def _contents(document: dict[str, Any]) -> Iterator[str]:
    yield "<nav>"
    for tag in document["tags"]:
        items = [
            f'<li><a href="#{operation["operationId"]}"><code>{method.upper()} '
            f"{escape(path)}</code></a> {escape(operation['summary'])}</li>"
            for path, method, operation in _tagged(document, tag["name"])
        ]
        if items:
            yield f"<p>{escape(tag['name'])}</p><ul>{''.join(items)}</ul>"
    yield "</nav>"


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        tagged = list(_tagged(document, tag["name"]))
        if not tagged:
            continue
        yield f"<h2>{escape(tag['name'])}</h2><p>{_text(tag['description'])}</p>"
        for path, method, operation in tagged:
            name = f'<code><span class="method">{method.upper()}</span> {escape(path)}</code>'
            yield f'<section><h3 id="{operation["operationId"]}">{name}</h3>'
            yield f"<p>{_text(operation['summary'])}. {_text(operation['description'])}</p>"
            of_path = document["paths"][path].get("parameters", [])
            of_query = operation.get("parameters", [])
            yield from _parameters([*of_path, *of_query, *_members(operation)])
            yield from _answers(operation["responses"])
            yield "</section>"


def _tagged(document: dict[str, Any], tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "parameters" and tag in operation["tags"]:
                yield path, method, operation


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    if not parameters:
        return
    yield "<table><thead><tr><th>parameter<th>in<th>type<th></tr></thead><tbody>"
    for one in parameters:
        default = one["schema"].get("default")
        tail = " Required." if one["required"] else ""
        tail += f" Default {default}." if default is not None else ""
        yield (
            f"<tr><td><code>{escape(one['name'])}</code><td>{one['in']}"
            f"<td>{_type(one['schema'])}<td>{_text(one['description'] + tail)}</tr>"
        )
    yield "</tbody></table>"


def _members(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Members of a body, as parameters are described."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for name, schema in content["schema"]["properties"].items():
            required = name in content["schema"]["required"]
            about = {"description": schema["description"], "required": required}
            yield {"name": name, "in": "body", "schema": schema, **about}


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    yield "<table><thead><tr><th>status<th>body<th></tr></thead><tbody>"
    for status, response in responses.items():
        bodies = " ".join(
            f"{escape(kind)}: {_type(content['schema'])}"
            if kind != "application/json"
            else _type(content["schema"])
            for kind, content in response.get("content", {}).items()
        )
        yield f"<tr><td>{status}<td>{bodies}<td>{_text(response['description'])}</tr>"
    yield "</tbody></table>"
    for content in responses["200"]["content"].values():
        if "example" in content:
            example = json.dumps(content["example"], ensure_ascii=False, indent=1)
            yield f"<pre>{escape(example)}</pre>"


def _objects(schemas: dict[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f'<section><h3 id="object-{name}"><code>{escape(name)}</code></h3>'
        yield f"<p>{_text(schema.get('description', ''))}</p>"
        yield "<table><thead><tr><th>field<th>type<th></tr></thead><tbody>"
        for field, kind in schema.get("properties", {}).items():
            yield (
                f"<tr><td><code>{escape(field)}</code><td>{_type(kind)}"
                f"<td>{_text(kind.get('description', ''))}</tr>"
            )
        yield "</tbody></table></section>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMAS)
        return f'<a href="#object-{name}">{escape(name)}</a>'
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(one))}</code>" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        kind = " or ".join(cast("list[str]", kind))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and "properties" in schema:
        members = ", ".join(f"{escape(n)}: {_type(one)}" for n, one in schema["properties"].items())
        return f"{{{members}}}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    words = [str(kind)]
    if "format" in schema:
        words.append(schema["format"])
    if "maximum" in schema:
        words.append(f"{schema['minimum']}–{schema['maximum']}")
    elif "minimum" in schema:
        words.append(f"from {schema['minimum']} on")
    return escape(" ".join(words))


def _text(text: str) -> str:
    """Text in which backticks mark code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
