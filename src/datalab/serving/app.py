"""The application: routes for FastAPI, behind the front door, with the schema of the model that is live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel
from pydantic_core import to_json

from datalab import __version__
from datalab.serving import answers
from datalab.serving.bursts import Bursts
from datalab.serving.docs_page import docs_page
from datalab.serving.guard import CALL, Call, Gate, Guard, Handler
from datalab.serving.openapi import complete, problem_responses
from datalab.serving.policy import Endpoint, Policy, uncovered
from datalab.serving.problems import Answer, Problem
from datalab.serving.service import Service

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Extension:
    """Routes that another part of the platform adds, each with its policy: `{("GET", "/v1/…"): Policy("read")}`.

    An endpoint finds who called in `request.scope["datalab.call"]`, and may raise Problem.
    """

    router: APIRouter
    policies: Mapping[Endpoint, Policy] = field(default_factory=dict)


@dataclass(frozen=True)
class Declared:
    """A route as it is told to FastAPI: what it does, what it answers with, in words."""

    handler: Handler
    summary: str
    answer: type[BaseModel] | str
    status: int = 200


def build_app(
    service: Service, gate: Gate, route: str, *, lifespan: Lifespan | None = None, extensions: Sequence[Extension] = ()
) -> Guard:
    """The ASGI application. AssertionError where a route has no policy: the server must not start then."""
    app = FastAPI(title="DataLab", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
                  lifespan=lifespan)  # fmt: skip
    whole = replace(gate, policies={**gate.policies, **{k: p for each in extensions for k, p in each.policies.items()}})
    bursts = Bursts(service.burst)
    declared = _declared(service, bursts, app, route)
    for (method, path), entry in declared.items():
        app.add_api_route(path, _endpoint(entry.handler), methods=[method], **_described(entry, whole.policies, path))
    for extension in extensions:
        app.router.routes.extend(extension.router.routes)  # as they are: each must be seen to have a policy
    app.add_exception_handler(Problem, _problem)
    app.openapi = lambda: complete(app, whole.policies, service.keeper.live, route)  # type: ignore[method-assign]
    problems = uncovered(endpoints(app), whole.policies)
    if problems:
        raise AssertionError("; ".join(problems))
    hot = (("POST", f"/v1/{route}"), ("POST", f"/v1/{route}/batch"))
    direct = {endpoint: declared[endpoint].handler for endpoint in hot}
    return Guard(app, whole, direct, {f"/v1/{route}": bursts.add})


def endpoints(app: FastAPI) -> list[Endpoint]:
    """Every method and path that the application has a route for."""
    return [(method, route.path) for route in app.routes for method in getattr(route, "methods", None) or ("*",)]  # type: ignore[attr-defined]


def _declared(service: Service, bursts: Bursts, app: FastAPI, route: str) -> dict[Endpoint, Declared]:
    async def document(_: Call) -> Answer:
        return Answer(200, to_json(app.openapi()))

    async def page(_: Call) -> Answer:
        return docs_page(app.openapi())

    return {
        ("POST", f"/v1/{route}"): Declared(bursts.ask, "Score one request.", answers.Resultado),
        ("POST", f"/v1/{route}/batch"): Declared(service.credit_score_batch, "Score many requests.", answers.Lote),
        ("GET", "/v1/model-info"): Declared(service.model_info, "The model that is live.", answers.Informacao),
        ("POST", "/v1/scores/{score_id}/review"): Declared(
            service.review, "Record a manual review.", answers.Revisao, 201
        ),
        ("GET", "/health"): Declared(service.health, "The process answers.", answers.Saude),
        ("GET", "/ready"): Declared(service.ready, "What the project declares can be done.", answers.Pronto),
        ("GET", "/metrics"): Declared(service.metrics_text, "Counts for Prometheus.", "text/plain"),
        ("GET", "/docs"): Declared(page, "This API, for people.", "text/html"),
        ("GET", "/openapi.json"): Declared(document, "This API, for programs.", "application/json"),
    }


def _described(entry: Declared, policies: Mapping[Endpoint, Policy], path: str) -> dict[str, Any]:
    method = "POST" if ("POST", path) in policies else "GET"
    if isinstance(entry.answer, str):
        good: dict[str, Any] = {"description": "OK", "content": {entry.answer: {}}}
    else:
        good = {"description": "OK", "model": entry.answer}
    return {
        "summary": entry.summary,
        "status_code": entry.status,
        "response_class": Response,
        "response_model": None,
        "responses": {entry.status: good, **problem_responses(policies.get((method, path)))},
    }


def _endpoint(handler: Handler) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return _response(await handler(request.scope[CALL]))

    return endpoint


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _response(error.answer())


def _response(answer: Answer) -> Response:
    headers = {name.decode("ascii"): value.decode("ascii") for name, value in answer.headers}
    return Response(answer.body, answer.status, headers, answer.content_type.decode("ascii"))
