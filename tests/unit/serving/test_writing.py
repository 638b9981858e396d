"""Answers and records are put together from parts: they must be what JSON of the whole would be."""

from __future__ import annotations

import asyncio
import json
import random

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter
from pydantic_core import to_json
from tests.unit.serving.conftest import WHEN
from tests.unit.serving.models import REQUEST
from tests.unit.serving.test_scoring import logged

from datalab.features.online.base import Layout, Version
from datalab.serving.answers import Resultado
from datalab.serving.reasons import rounded
from datalab.serving.writing import _json

TEXT = 'aspas "duplas", %b e %(x)s, \\ e é\n'


def test_numbers_are_written_as_if_they_were_rounded():
    chance = random.Random(7)
    near = [1e-5, -1e-5, 9.9999e-6, 1.5e-6, -0.0, 0.0, 1.0, -1.0, 0.5, 0.25, 1e-4, 0.9999995, 100.0, 1234.5678, 2.5e-6]
    near += [chance.uniform(-1, 1) * 10 ** -chance.randint(0, 6) for _ in range(2_000)]
    near += [(chance.randint(-(10**6), 10**6) + 0.5) / 10**6 for _ in range(2_000)]
    for number in near:
        assert rounded(number, 6) == to_json(round(number, 6)), number
        assert rounded(abs(number) * 1000, 3) == to_json(round(abs(number) * 1000, 3)), number


def test_the_reasons_of_one_row_are_those_it_has_among_many(served):
    reasons = served.parts.keeper.live.reasons
    chance = np.random.default_rng(7)
    answers = chance.random((500, reasons.variations), np.float32).astype(np.float64)
    answers[::3] = answers[::3].round(1)  # many of the same size, some without an effect
    answers[1] = answers[1, 0]
    told = reasons.read(answers)
    assert told == [reasons.read_one(row) for row in answers.tolist()]
    assert told[1] == b""


def test_values_that_json_does_not_know_are_recorded_as_text():
    assert json.loads(_json({"a": ValueError("x"), "b": float("inf"), "c": [1.5]})) == {"a": "x", "b": None, "c": [1.5]}


@pytest.mark.parametrize("farmer", ["proponente_1", TEXT])
def test_whatever_a_caller_sends_is_json_in_the_answer_and_in_the_record(served, farmer):
    async def ask() -> tuple[bytes, bytes]:
        async with served.client() as client:
            one = await client.post("/v1/credit-score", json={**REQUEST, "id_proponente": farmer, "prazo": 3})
            many = await client.post(
                "/v1/credit-score/batch", json={"propostas": [{**REQUEST, "id_proponente": farmer}]}
            )
        return one.content, many.content

    one, many = asyncio.run(ask())
    for text in (one, to_json(json.loads(many)["resultados"][0])):
        parsed = TypeAdapter(Resultado).validate_json(text)
        assert to_json(json.loads(text)) == text
        assert parsed.decisao in {"APROVADO", "REVISAO_MANUAL", "NEGADO"}
    assert many == to_json(json.loads(many))
    records = logged(served)
    assert [record["request"]["id_proponente"] for record in records] == [farmer, farmer]
    assert [record["entity"] for record in records] == [[farmer], [farmer]]
    (first, _) = records
    assert [r["nome"] for r in first["reasons"] if "nome" in r] == [r["nome"] for r in json.loads(one)["regras"]]


def test_entities_with_the_same_features_are_recorded_by_their_own_names(served):
    store, states = served.parts.store, ["PR", "MT"]
    layout = Layout("gold.uf", ("localizacao_uf",), "feature_timestamp", ("taxa_risco_elevado",), ("double",))
    claim = store.begin("uf", layout, Version(2, 7))
    moments = pa.array([WHEN] * 2, pa.timestamp("us", tz="UTC"))
    table = pa.table({"localizacao_uf": states, "feature_timestamp": moments, "taxa_risco_elevado": [0.5, 0.5]})
    store.write(claim, table)
    store.finish(claim, whole=True)
    for _ in range(4):
        for state in states:
            asyncio.run(served.score(id_proponente="ninguem", uf=state))
    assert [record["features"]["uf"]["entity"] for record in logged(served)] == [
        {"localizacao_uf": state} for _ in range(4) for state in states
    ]
