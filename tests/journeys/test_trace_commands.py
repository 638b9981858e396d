"""`trace`, `lineage` and `impact` as people and programs meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.journeys.pedidos import Pedidos, order

FEATURES = """
view: gold.por_uf
entity: [uf]
timestamp: total
"""
LABELS = """
labels: SELECT id, uf, valor > 5 AS caro, valor AS momento FROM silver.pedidos
moment: momento
label: caro
views: {estado: [uf]}
"""
MODEL = """
training_set: compras
label: caro
moment: momento
estimator: sklearn.ensemble.RandomForestClassifier
thresholds: {approve_below: 0.1, deny_from: 0.4}
request: {uf: {type: string, maxLength: 2}}
views: {estado: {entity: [request.uf]}}
inputs: {estado__pedidos: {from: estado.pedidos}}
"""


@pytest.fixture
def pedidos(tmp_path: Path, datalab: Callable[..., object], warm: None) -> Pedidos:
    project = Pedidos(tmp_path / "pedidos", datalab).create()
    project.write("features/estado.yaml", FEATURES)
    project.write("features/compras.yaml", LABELS)
    project.write("models/compras.yaml", MODEL)
    return project


def test_down_and_back_masked(pedidos: Pedidos) -> None:
    pedidos.deliver("a", order("1"), order("2", versao=1), order("9", valor=-3))
    pedidos.deliver("b", order("2", versao=2, valor=30))
    pedidos.run()
    (row,) = pedidos("trace", "gold.por_uf", "uf=SP", "--json").json["rows"]
    assert row["values"] == {"uf": "SP", "pedidos": 2, "total": 40}
    (silver,) = row["reads"]
    assert (silver["table"], silver["total"], silver["by"]) == ("silver.pedidos", 2, {"uf": "uf"})
    assert [each["values"]["documento"] for each in silver["rows"]] == ["•••", "•••"]
    (events,) = silver["rows"][1]["reads"]
    assert [(each["position"], each["status"]) for each in events["rows"]] == [
        ("landing/a.jsonl:1", "superseded"),
        ("landing/b.jsonl:0", "kept"),
    ]
    tree = pedidos("trace", "gold.por_uf", "uf=SP").out
    assert "  ├─ id=1\n" in tree
    assert "landing/b.jsonl:0  kept\n" in tree
    up = pedidos("trace", "--back", pedidos.folder / "landing" / "b.jsonl:0").out
    assert "silver.pedidos @" in up
    assert "uf=SP" in up
    assert "set aside: valor_positivo" in pedidos("trace", "--back", "landing/a.jsonl:2").out


def test_of_a_deleted_key_it_is_said_when_and_by_which_record(pedidos: Pedidos) -> None:
    pedidos.pipeline("KEYS (id)", "KEYS (id) APPLY AS DELETE WHEN valor = 7")
    pedidos.deliver("a", order("1"), order("2"), order("3"))
    pedidos.deliver("b", order("2", versao=5, valor=7), order("3", versao=6, valor=7))
    pedidos.run()
    error = pedidos("trace", "silver.pedidos", "id=2", code=4).err
    assert "silver.pedidos has no row with id=2: it was deleted at versao 5" in " ".join(error.split())
    assert "deleted by landing/b.jsonl:0" in error
    both = pedidos("trace", "silver.pedidos", "valor=7", code=4).err
    assert "2 such rows were deleted, the last at versao 6" in " ".join(both.split())
    assert "landing/b.jsonl:0, landing/b.jsonl:1" in " ".join(both.split())
    never = pedidos("trace", "silver.pedidos", "id=4", code=4).err
    assert "deleted" not in never
    pedidos.deliver("c", order("2", versao=9))
    pedidos.run()
    assert pedidos("trace", "silver.pedidos", "id=2", "--json").json["rows"][0]["values"]["versao"] == 9


def test_impact_and_lineage_show_no_internal_column(pedidos: Pedidos) -> None:
    pedidos.pipeline("SEQUENCE BY versao", "APPLY AS DELETE WHEN valor = 7 SEQUENCE BY versao STORED AS SCD TYPE 2")
    told = {each["name"]: each["columns"] for each in pedidos("impact", "bronze.pedidos.valor", "--json").json}
    assert told["silver.pedidos"] == ["valor"]
    known = pedidos("lineage", "--json").json
    (silver,) = (thing for thing in known["things"] if thing["name"] == "silver.pedidos")
    assert silver["columns"] == ["id", "documento", "uf", "valor", "versao", "__start_at", "__end_at"]
    deciding = {edge["from"]["column"] for edge in known["edges"] if edge["decides"] and edge["via"] == "atualiza"}
    assert deciding == {"id", "valor", "versao"}


def test_a_record_that_was_refused_is_found_in_quarantine(pedidos: Pedidos) -> None:
    pedidos.deliver("a", order("1"), order("2", valor="muito"))
    pedidos.run(code=0)
    found = pedidos("trace", "--back", "landing/a.jsonl:1", "--json").json
    assert found["rows"] == []
    assert [(each["target"], each["reason"]) for each in found["quarantined"]] == [("bronze.pedidos", "wrong_type")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gold.por_uf", "uf=XX"], 4, "gold.por_uf has no row with uf=XX"),
        (["gold.por_uf"], 2, "datalab trace gold.por_uf uf=…"),
        (["gold.por_uf", "ufs=SP"], 2, "did you mean uf?"),
        (["gold.por_uf", "uf=SP", "UF=RJ"], 2, "uf is given more than once"),
        (["gold.por_uf", "pedidos=dois"], 2, "'dois' is not a value of pedidos, which is int64"),
        (["gold.por_ufs", "uf=SP"], 4, "did you mean gold.por_uf"),
        (["01HZX"], 4, "there is no score 01HZX"),
        ([], 2, "say what to trace"),
        (["--back", "landing/a.jsonl"], 2, "is not a place in a source"),
        (["--back", "landing/b.jsonl:0"], 4, "did you mean landing/a.jsonl?"),
    ],
)
def test_what_cannot_be_traced_is_said(pedidos: Pedidos, arguments: list[str], code: int, words: str) -> None:
    pedidos.deliver("a", order("1"))
    pedidos.run()
    answer = pedidos("trace", *arguments, code=code)
    assert words in " ".join(answer.err.split())


def test_lineage_and_impact_are_read_from_the_files_alone(pedidos: Pedidos) -> None:
    told = pedidos("impact", "bronze.pedidos.valor", "--json").json
    assert {each["name"]: (each["columns"], each["rows"]) for each in told} == {
        "silver.pedidos": (["valor"], True),
        "gold.por_uf": (["total"], True),
        "features.estado": (["total"], True),
        "training.compras": (["caro", "momento"], True),
        "models.compras": (["caro", "momento"], True),
    }
    assert [each["name"] for each in pedidos("impact", "bronze.pedidos.cpf", "--json").json] == ["silver.pedidos"]
    assert "did you mean bronze.pedidos.valor" in pedidos("impact", "bronze.pedidos.valo", code=2).err
    known = pedidos("lineage", "--json").json
    assert [thing["name"] for thing in known["things"]] == [
        "bronze.pedidos", "silver.pedidos", "gold.por_uf", "features.estado", "training.compras", "models.compras",
    ]  # fmt: skip
    edges = {(json.dumps(edge["from"]), json.dumps(edge["to"])): edge for edge in known["edges"]}
    lower = edges['{"owner": "bronze.pedidos", "column": "cpf"}', '{"owner": "silver.pedidos", "column": "documento"}']
    assert (lower["via"], lower["decides"]) == ("atualiza", False)
    diagram = pedidos("lineage", "--mermaid").out
    assert diagram.startswith("flowchart LR\n")
    assert '  bronze_pedidos -->|"atualiza"| silver_pedidos\n' in diagram
    columns = pedidos("lineage", "--column", "silver.pedidos.documento", "--mermaid").out
    assert "  bronze_pedidos__cpf --> silver_pedidos__documento\n" in columns
    tree = pedidos("lineage", "--column", "gold.por_uf.total").out
    assert "├─ ← silver.pedidos.valor  gold.por_uf\n│  └─ ← bronze.pedidos.valor  atualiza\n" in tree
