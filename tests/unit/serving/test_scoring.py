"""A score: the known model's probability, its decision, its reasons, and what the record keeps."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from tests.unit.serving.models import INPUTS, REQUEST, probability

from datalab.serving.inputs import Input, Origin, Vector

KNOWN = {
    "renda": 15000,
    "valor": 50000,
    "serasa": 720.0,
    "ibama": 0.0,
    "municipio": 0.25,
    "estado": 0.2,
    "cultura": "CAFE",
}


def logged(served: Any) -> list[dict[str, Any]]:
    folder = served.state / "serving" / "scores"
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_a_known_farmer_gets_the_models_answer(served):
    answer = asyncio.run(served.score())
    expected = probability(KNOWN)
    assert answer["probabilidade_inadimplencia"] == pytest.approx(expected, abs=1e-6)
    assert answer["score"] == round(1000 * (1 - expected))
    assert answer["decisao"] == "REVISAO_MANUAL"
    assert answer["degradacao"] is None
    assert answer["modelo"] == {"nome": "credito", "versao": 1, "desatualizado": False}
    assert answer["features"]["municipio"] == {"momento": "2026-11-20T12:00:00Z", "snapshot": "4611686018427387905"}


def test_reasons_are_the_differences_to_the_reference_customer(served):
    answer = asyncio.run(served.score())
    effects = {}
    for name, (_, _, reference, _, _) in INPUTS.items():
        effects[name] = probability(KNOWN) - probability({**KNOWN, name: reference})
    strongest = sorted(effects, key=lambda name: -abs(effects[name]))[:5]
    assert [reason["variavel"] for reason in answer["razoes"]] == strongest
    for reason in answer["razoes"]:
        assert reason["efeito"] == pytest.approx(effects[reason["variavel"]], abs=2e-6)
        assert reason["sentido"] == ("aumenta" if effects[reason["variavel"]] > 0 else "reduz")
        assert reason["texto"] == f"rótulo de {reason['variavel']} {reason['sentido']} o risco"


def test_inputs_like_the_reference_are_no_reasons(served):
    same = {"renda_liquida_mes": 8000, "valor_solicitado": 40000, "cultura_principal": "SOJA"}
    answer = asyncio.run(served.score(**same))
    assert not {"renda", "valor", "cultura"} & {reason["variavel"] for reason in answer["razoes"]}


@pytest.mark.parametrize("value", [1e39, -1.7e308, 10**400])
def test_a_feature_that_no_float32_holds_is_infinite_without_a_warning(value):
    part = Input("serasa", "number", Origin(view="v", feature="f"), 1.0, "serasa", "", "", "")
    numbers, _ = Vector([part]).arrays([[value], [2.0]])
    assert not np.isfinite(numbers[0, 0])
    assert numbers[0, 1] == 2


def test_an_unknown_farmer_is_scored_from_the_request_and_the_state(served):
    answer = asyncio.run(served.score(id_proponente="ninguem", uf="MT"))
    known = {"renda": 15000, "valor": 50000, "estado": 0.4}
    assert answer["probabilidade_inadimplencia"] == pytest.approx(probability(known), abs=1e-6)
    assert answer["degradacao"]["motivo"] == "unknown_entity"
    assert set(answer["degradacao"]["views"]) == {"proponente", "perfil", "municipio"}
    assert answer["features"]["perfil"] is None
    assert answer["features"]["uf"] is not None


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({"renda_liquida_mes": 30000, "cultura_principal": "SOJA"}, "APROVADO"),
        ({}, "REVISAO_MANUAL"),
        ({"valor_solicitado": 300000, "prazo": 360}, "NEGADO"),
    ],
)
def test_the_thresholds_decide(served, changes, decision):
    assert asyncio.run(served.score(**changes))["decisao"] == decision


def test_a_policy_rule_makes_a_decision_stricter_and_is_named(served):
    safe = {"renda_liquida_mes": 30000, "cultura_principal": "SOJA"}
    answer = asyncio.run(served.score(**safe, prazo=3))
    assert answer["decisao"] == "REVISAO_MANUAL"
    (rule,) = answer["regras"]
    assert rule == {
        "nome": "parcela_alta",
        "texto": "a parcela passa de metade da renda",
        "decisao_minima": "REVISAO_MANUAL",
    }
    assert asyncio.run(served.score(**safe))["regras"] == []


def test_the_record_has_all_that_a_trace_needs(served):
    answer = asyncio.run(served.score())
    (record,) = logged(served)
    assert record["score_id"] == answer["id_score"]
    assert record["request"] == REQUEST
    assert record["entity"] == ["proponente_1"]
    assert record["inputs"] == KNOWN
    assert record["features"]["municipio"] == {
        "table": "gold.municipio",
        "snapshot": 4611686018427387905,
        "timestamp": "2026-11-20T12:00:00Z",
        "entity": {"localizacao_uf": "SP", "localizacao_municipio": "Bauru"},
        "values": {"taxa_risco_elevado": 0.25},
    }
    assert (record["model"], record["model_version"], record["degraded"]) == ("credito", 1, None)
    assert record["decision"] == answer["decisao"]
    assert 0 < record["latency_ms"] < 1000


def test_a_batch_answers_like_single_requests(served):
    rows = [{**REQUEST, "valor_solicitado": 1000 * number, "uf": "PR"} for number in range(1, 40)]
    rows.append({**REQUEST, "id_proponente": "ninguem"})

    async def both() -> tuple[list[Any], list[Any]]:
        async with served.client() as client:
            batch = await client.post("/v1/credit-score/batch", json={"propostas": rows})
            single = [(await client.post("/v1/credit-score", json=row)).json() for row in rows]
        return batch.json()["resultados"], single

    batch, single = asyncio.run(both())
    for ours, theirs in zip(batch, single, strict=True):
        assert ours["probabilidade_inadimplencia"] == pytest.approx(theirs["probabilidade_inadimplencia"], abs=1e-6)
        assert ours["decisao"] == theirs["decisao"]
        assert [reason["variavel"] for reason in ours["razoes"]] == [reason["variavel"] for reason in theirs["razoes"]]
        assert ours["degradacao"] == theirs["degradacao"]
    assert len(logged(served)) == 2 * len(rows)
    assert len({answer["id_score"] for answer in [*batch, *single]}) == 2 * len(rows)
