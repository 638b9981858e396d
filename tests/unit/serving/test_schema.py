"""The API's schema is complete for the live model, and what is answered fits the forms that it declares."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.unit.serving.models import FIELDS, REQUEST, package

from datalab.serving.answers import Informacao, Lote, ProblemDocument, Pronto, Resultado, Revisao
from datalab.serving.policy import policies
from datalab.serving.problems import KINDS


def get(served, path, role=None):
    async def ask():
        async with served.client(role) as client:
            return await client.get(path)

    return asyncio.run(ask())


def post(served, path, body, role="score"):
    async def ask():
        async with served.client(role) as client:
            return await client.post(path, json=body)

    return asyncio.run(ask())


def test_answers_fit_their_forms(served):
    score = post(served, "/v1/credit-score", REQUEST)
    Resultado.model_validate_json(score.content, strict=True)
    unknown = {**REQUEST, "id_proponente": "ninguem", "prazo": 2}
    Resultado.model_validate_json(post(served, "/v1/credit-score", unknown).content, strict=True)
    Lote.model_validate_json(post(served, "/v1/credit-score/batch", {"propostas": [REQUEST, unknown]}).content)
    review = {"resultado": "NEGADO", "revisor": "analista-7"}
    reviewed = post(served, f"/v1/scores/{score.json()['id_score']}/review", review, "admin")
    Revisao.model_validate_json(reviewed.content)
    Pronto.model_validate_json(get(served, "/ready").content)
    served.registry.champion(2, package(served.state, 2, defect="nan"))
    served.parts.keeper.refresh()
    Informacao.model_validate_json(get(served, "/v1/model-info", "read").content)
    for problem in (get(served, "/v1/model-info"), post(served, "/v1/credit-score", {"x": 1})):
        ProblemDocument.model_validate_json(problem.content, strict=True)


def test_the_schema_has_the_fields_of_the_live_model(served):
    document = get(served, "/openapi.json").json()
    request = document["components"]["schemas"]["Pedido"]
    assert list(request["properties"]) == [field["name"] for field in FIELDS]
    assert request["required"] == [field["name"] for field in FIELDS if not field.get("optional")]
    assert request["additionalProperties"] is False
    assert request["properties"]["uf"]["enum"] == ["SP", "PR", "MT"]
    wider = [*FIELDS, {"name": "canal", "type": "string", "optional": True}]
    served.registry.champion(2, package(served.state, 2, request={"fields": wider}))
    served.parts.keeper.refresh()
    after = get(served, "/openapi.json").json()
    assert "canal" in after["components"]["schemas"]["Pedido"]["properties"]
    assert post(served, "/v1/credit-score", {**REQUEST, "canal": "AGENCIA"}).status_code == 200


def test_every_route_of_the_schema_says_who_may_call_and_which_problems_there_are(served):
    document = get(served, "/openapi.json").json()
    assert {path for _, path in policies("credit-score")} <= set(document["paths"])
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["security"], path
            assert {"401", "403", "429", "500"} <= set(operation["responses"])
            if method == "post":
                assert {"400", "408", "413", "415", "422"} <= set(operation["responses"])
                assert operation["requestBody"]["required"]


def test_the_page_needs_nothing_from_elsewhere_and_names_every_problem(served):
    page = get(served, "/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|https?://|@import|url\(", page.text)
    for kind in KINDS:
        assert f"id='{kind}'" in page.text
    for field in FIELDS:
        assert f"<code>{field['name']}</code>" in page.text


def test_answers_are_not_to_be_kept_or_guessed_at(served):
    for answer in (get(served, "/health"), get(served, "/docs"), post(served, "/v1/credit-score", REQUEST)):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_metrics_count_routes_decisions_and_degraded_answers(served):
    post(served, "/v1/credit-score", REQUEST)
    post(served, "/v1/credit-score", {**REQUEST, "id_proponente": "ninguem"})
    post(served, "/v1/credit-score", {})
    text = get(served, "/metrics", "read").text
    assert 'datalab_requests_total{route="/v1/credit-score",status="200"} 2\n' in text
    assert 'datalab_requests_total{route="/v1/credit-score",status="422"} 1\n' in text
    assert 'datalab_degraded_total{reason="unknown_entity"} 1\n' in text
    assert 'datalab_decisions_total{decision="REVISAO_MANUAL"}' in text
    assert re.search(r'datalab_request_seconds_bucket\{route="/v1/credit-score",le="\+Inf"\} 3\n', text)
    assert re.search(r"datalab_log_backlog_bytes [1-9]", text)
    for line in text.splitlines():
        assert re.match(r'(# (HELP|TYPE) |[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+]+$)', line), line


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_without_a_model_the_documents_still_answer(serve, path):
    served = serve()
    served.parts.keeper.live = None
    assert get(served, path).status_code == 200
