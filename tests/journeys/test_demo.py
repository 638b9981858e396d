"""`datalab demo`: from nothing to answered questions, and again over its own folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

LAYERS = ["bronze", "silver", "gold", "ops"]
DECISIONS = ["APROVADO", "REVISAO_MANUAL", "NEGADO"]


@pytest.fixture(autouse=True)
def _warm(warm: None) -> None:
    """Decoding processes are shared."""


def test_the_demo_ends_in_answers(datalab, tmp_path: Path):
    folder = tmp_path / "demo"
    answer = datalab("demo", folder, "--rows", "1000", "--json").json
    assert answer["run"]["status"] == "ok"
    tables = {f"{row['layer']}.{row['table']}": row["rows"] for row in answer["tables"]}
    assert list(dict.fromkeys(row["layer"] for row in answer["tables"])) == LAYERS
    aside = sum(row["records"] for row in answer["quarantine"] if row["target"] == "bronze.dados_produtores_agro")
    assert tables["bronze.dados_produtores_agro"] + aside == answer["simulated"]["records"]
    assert {row["reason"] for row in answer["quarantine"]} >= {"expectation"}
    checks = {(row["target"], row["constraint"]): row for row in answer["checks"]}
    assert sum(row["failed"] for row in checks.values() if row["action"] == "drop") >= sum(
        row["records"] for row in answer["quarantine"] if row["reason"] == "expectation"
    )
    assert len(answer["questions"]) == 3
    assert all(question["title"].endswith("?") and question["rows"] for question in answer["questions"])
    assert {row["kind"] for row in answer["features"]} == {"whole"}
    assert answer["model"]["auc"] <= answer["model"]["best_auc"] + 0.05
    assert datalab("run", "--project", folder).out.startswith("nothing to do")


@pytest.mark.slow
def test_the_demo_ends_in_three_decisions_and_a_trace(datalab, tmp_path: Path):
    folder = tmp_path / "demo"
    people = datalab("demo", folder)
    assert people.code == 0, people.err
    for title in ("layers", "quarantine", "checks", "three farmers ask for credit"):
        assert f"\n{title}\n" in people.out
    decisions = re.findall(r"^(\w+_case)\.json +(\w+)", people.out, re.MULTILINE)
    assert [decision for _, decision in decisions] == DECISIONS
    auc, best = map(float, re.findall(r"AUC (0\.\d+), the best possible is (0\.\d+)", people.out)[0])
    assert best - 0.03 <= auc <= best
    assert re.search(r"landing/dados_produtores/lote-0001-\d+\.avro:\d+  kept", people.out)
    assert f"cd {folder} && datalab plan" in people.out
    assert "http://127.0.0.1:8000/docs" in people.out
    assert datalab("features", "parity", "--sample", "200", "--project", folder).code == 0
    (score_id,) = re.findall(r"datalab trace (\S+)", people.out)
    assert datalab("trace", score_id, "--project", folder, "--json").json["score_id"] == score_id


@pytest.mark.parametrize("name", ["datalab.yaml", "notas.txt"])
def test_a_folder_of_somebody_else_is_left_alone(datalab: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("name: meu\n", encoding="utf-8")
    answer = datalab("demo", tmp_path, "--rows", "1000")
    assert answer.code == 3
    assert "is not a demo" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_too_few_rows_are_refused(datalab: Any, tmp_path: Path) -> None:
    assert datalab("demo", tmp_path / "demo", "--rows", "10").code == 2
    assert not (tmp_path / "demo").exists()
