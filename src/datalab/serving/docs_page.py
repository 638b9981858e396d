"""The API for people: one page without scripts, made from its schema; nothing is loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from datalab.serving.problems import KINDS, Answer

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "code,pre{font:14px ui-monospace,monospace;background:#f3f4f6;border-radius:4px}code{padding:.1em .3em}"
    "pre{padding:1em;overflow:auto}table{border-collapse:collapse}td,th{text-align:left;padding:.2em 1em .2em 0;"
    "vertical-align:top}h2{margin-top:2.5em;border-top:1px solid #ddd;padding-top:.6em}"
)
_HEADERS = ((b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"),)


def docs_page(document: Mapping[str, Any]) -> Answer:
    """The page."""
    body = "\n".join(_page(document))
    return Answer(200, body.encode("utf-8"), b"text/html; charset=utf-8", _HEADERS)


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    yield "<!doctype html><html lang='pt-BR'><head><meta charset='utf-8'>"
    yield f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
    yield f"<p>{escape(info.get('description', 'Nenhum modelo no ar.'))}</p>"
    yield "<p>Authenticate with <code>Authorization: Bearer …</code>; "
    yield "<code>datalab keys create NAME --role score</code> makes a key.</p>"
    yield "<p>The same as a schema: <a href='/openapi.json'>/openapi.json</a>.</p>"
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation, schemas)
    yield "<h2>Problems</h2><table><tr><th>type</th><th>status</th><th>title</th></tr>"
    for kind, (status, words) in KINDS.items():
        yield f"<tr id='{kind}'><td><code>/docs#{kind}</code></td><td>{status}</td><td>{escape(words)}</td></tr>"
    yield "</table></body></html>"


def _operation(name: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{escape(name)}</code></h2><p>{escape(operation.get('summary', ''))} "
    yield f"{escape(operation.get('description', ''))}</p>"
    body = operation.get("requestBody")
    if body:
        schema = schemas[body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]]
        yield from _fields(schema)
        for example in schema.get("examples", ()):
            yield f"<pre>{escape(json.dumps(example, ensure_ascii=False, indent=2))}</pre>"
    statuses = " · ".join(f"<code>{status}</code> {escape(told['description'])}"
                          for status, told in sorted(operation["responses"].items()))  # fmt: skip
    yield f"<p>{statuses}</p>"


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield "<table><tr><th>field</th><th>type</th><th>needed</th><th></th></tr>"
    for name, field in schema.get("properties", {}).items():
        rest = {key: value for key, value in field.items() if key not in ("type", "description", "title", "items")}
        about = " ".join([field.get("description", ""), *(f"{key}: {value}" for key, value in rest.items())])
        needed = "yes" if name in required else "no"
        yield f"<tr><td><code>{escape(name)}</code></td><td>{escape(str(field.get('type')))}</td>"
        yield f"<td>{needed}</td><td>{escape(about)}</td></tr>"
    yield "</table>"
