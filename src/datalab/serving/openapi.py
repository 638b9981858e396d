"""The API's schema, complete for the model that is live: its request's fields, every problem, who may call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from datalab.serving.answers import ProblemDocument
from datalab.serving.model import LiveModel
from datalab.serving.policy import Endpoint, Policy
from datalab.serving.problems import CONTENT_TYPE, KINDS
from datalab.serving.reviews import FORM
from datalab.serving.score_id import PATTERN

_EVERYWHERE = ("internal",)
_WITH_KEY = ("not_authenticated", "forbidden", "too_many_requests")
_WITH_BODY = ("not_json", "too_deep", "body_too_slow", "too_large", "media_type", "invalid")
_ONE, _MANY, _REVIEW = "Pedido", "PedidoLote", "PedidoRevisao"
_REF = "#/components/schemas/"
_SCHEME = "chave"


def problem_responses(policy: Policy | None) -> dict[int | str, dict[str, Any]]:
    """The problems that a route of this policy may answer, for FastAPI's `responses`."""
    if policy is None:
        return {}
    kinds = [*_EVERYWHERE, *_WITH_KEY, *(_WITH_BODY if policy.body != "none" else ())]
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, title = KINDS[kind]
        told = found.get(status, {}).get("description")
        found[status] = _problem(f"{told}; {title}" if told else title)
    return found


def complete(app: FastAPI, policies: Mapping[Endpoint, Policy], live: LiveModel | None, route: str) -> dict[str, Any]:
    """The OpenAPI document as of now."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes, openapi_version="3.1.0")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = ProblemDocument.model_json_schema()
    schemas[_REVIEW] = FORM.schema()
    if live is not None:
        schemas[_ONE] = live.form.schema()
        schemas[_MANY] = live.form.batch_schema(f"{_REF}{_ONE}")
        document["info"]["description"] = f"Modelo {live.name}, versão {live.version}."
    else:
        schemas[_ONE] = schemas[_MANY] = {"type": "object"}
    document["components"]["securitySchemes"] = {_SCHEME: {"type": "http", "scheme": "bearer"}}
    for (method, path), policy in policies.items():
        _finish(document["paths"][path][method.lower()], policy)
    paths = document["paths"]
    paths[f"/v1/{route}"]["post"]["requestBody"] = _body(_ONE)
    paths[f"/v1/{route}/batch"]["post"]["requestBody"] = _body(_MANY)
    for path in (f"/v1/{route}", f"/v1/{route}/batch", "/ready"):
        for operation in paths[path].values():
            operation["responses"]["503"] = _problem(KINDS["no_model"][1])
    review = paths["/v1/scores/{score_id}/review"]["post"]
    review["requestBody"] = _body(_REVIEW)
    review["parameters"] = [
        {"name": "score_id", "in": "path", "required": True, "schema": {"type": "string", "pattern": PATTERN}}
    ]
    review["responses"] |= {
        str(KINDS[kind][0]): _problem(KINDS[kind][1]) for kind in ("not_found", "not_reviewable", "not_recorded")
    }
    return document


def _finish(operation: dict[str, Any], policy: Policy) -> None:
    if policy.access == "open":
        operation["security"] = [{}, {_SCHEME: []}]
        operation["description"] = "Needs no key on a loopback server, a key of the role `read` elsewhere."
    else:
        operation["security"] = [{_SCHEME: []}]
        operation["description"] = f"Needs a key of the role `{policy.access}` (or `admin`)."


def _body(name: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": {"$ref": f"{_REF}{name}"}}}}


def _problem(title: str) -> dict[str, Any]:
    return {"description": title, "content": {CONTENT_TYPE.decode(): {"schema": {"$ref": f"{_REF}Problem"}}}}
