"""The farmers' model as a user types it: trained from files, judged beside the best possible, replaced, rolled back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datalab.cli.app import execute
from datalab.ml import metrics
from datalab.platform.lab import Lab
from datalab.platform.settings import load

HOLDOUT = "SELECT proponente_id, data_solicitacao, inadimplente FROM silver.desfechos_credito"


@pytest.fixture(scope="module")
def agro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to gold, once for the module; the ledger lies outside of the project."""
    folder = tmp_path_factory.mktemp("model") / "agro"
    assert execute(["init", str(folder), "--template", "agro"]) == 0
    simulated = ["--rows", "8000", "--seed", "42", "--files", "4", "--ledger", str(folder.parent / "ledger.jsonl")]
    assert execute(["data", "simulate", "--project", str(folder), "--quiet", *simulated]) == 0
    assert execute(["run", "--project", str(folder), "--quiet"]) == 0
    return folder


def best_possible(folder: Path, since: str, until: str) -> float:
    """The AUC of the hidden chances themselves on the very rows that the model was judged on."""
    lines = map(json.loads, (folder.parent / "ledger.jsonl").read_text("utf-8").splitlines())
    chances = {(line["proponente_id"], line["data_solicitacao"]): line["chance"] for line in lines if "chance" in line}
    with Lab(load(folder), {}) as lab:
        outcomes = lab.query(HOLDOUT).read_all().to_pylist()
    first, last = datetime.fromisoformat(since), datetime.fromisoformat(until)
    held = [row for row in outcomes if first <= row["data_solicitacao"] <= last]
    keys = [(row["proponente_id"], round(row["data_solicitacao"].timestamp() * 1000)) for row in held]
    return metrics.auc(np.array([chances[key] for key in keys]), np.array([row["inadimplente"] for row in held]))


@pytest.mark.slow
def test_from_files_to_a_live_model_and_back(agro: Path, datalab: Callable[..., Any]) -> None:
    def model(*line: str) -> Any:
        return datalab("model", *line, "--project", str(agro), "--json")

    first = model("train", "--by", "ana")
    assert first.code == 0, first.err
    answer = first.json
    assert (answer["version"], answer["live"]) == (1, True)
    manifest = json.loads(
        next((agro / ".datalab/mlflow/artifacts").glob("*/artifacts/package/manifest.json")).read_text()
    )
    best = best_possible(agro, manifest["metrics"]["holdout_from"], manifest["metrics"]["holdout_until"])
    assert best - 0.03 <= answer["sent"]["auc"] <= best + 0.01
    assert best - 0.03 <= answer["unsent"]["auc"]
    assert answer["onnx_difference"] < 1e-5
    assert manifest["views"]["municipio"]["entity"][0]["column"] == "localizacao_uf"
    assert manifest["training_set"] == answer["training_set"]

    again = model("train")
    assert again.json["training_set"] == answer["training_set"]  # nothing has changed: the same set, the same model
    assert not again.json["live"]
    assert again.json["sent"] == answer["sent"]
    assert model("promote", "credito", "2", "--why", "to see").json == {"model": "credito", "live": 2}
    assert model("rollback", "--why", "seen").json == {"model": "credito", "live": 1}
    history = model("history").json
    assert [row["action"] for row in history][-4:] == ["retired", "promoted", "retired", "rolled_back"]
    assert (history[0]["by"], history[-1]["why"]) == ("ana", "seen")
    (listed,) = model("list").json
    assert (listed["live"], listed["newest"]) == (1, 2)

    judged = model("evaluate", "credito", "--version", "2").json
    assert judged["rows"] > answer["sent"]["rows"]  # also those whose outcome came too late to learn from
    assert judged["auc"] == pytest.approx(answer["sent"]["auc"], abs=0.02)
    drift = model("drift")
    assert drift.code == (1 if drift.json["retrain"] else 0)
    assert {"feature", "psi", "p", "drifted"} <= set(drift.json["features"][0])
    if_drifted = model("train", "--if-drifted").json
    assert if_drifted["trained"] == drift.json["retrain"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["train", "crédito"], 4, "no model 'crédito'"),
        (["promote", "credito", "77"], 4, "no version 77"),
        (["evaluate", "--training-set", "credito@1"], 4, ""),
        (["rollback", "credito", "--to", "99"], 4, "no version 99"),
        (["history", "nenhum"], 4, "no model 'nenhum'"),
    ],
)
def test_what_is_not_there(agro: Path, datalab: Callable[..., Any], line: list[str], code: int, words: str) -> None:
    answer = datalab("model", *line, "--project", str(agro))
    assert answer.code == code, answer.err
    assert words in answer.err


def test_a_project_without_models(project: Path, datalab: Callable[..., Any]) -> None:
    assert datalab("model", "list", "--json").json == []
    answer = datalab("model", "train")
    assert answer.code == 4
    assert "declare one in models/*.yaml" in answer.err
