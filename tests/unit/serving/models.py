"""Packages of a logistic model whose every answer and reason is known, and bad ones of each kind."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from datalab.ml.package import MANIFEST, MODEL, SIGNATURE, Package, signing_key, write_package
from datalab.ml.registry.base import PACKAGE_TAG, SINCE_TAG

NAME = "credito"
CULTURES = {"SOJA": -0.3, "CAFE": 0.5}
# name: (kind, from, reference, weight per unit, what a missing value adds)
INPUTS: dict[str, tuple[str, dict[str, Any], Any, float, float]] = {
    "renda": ("number", {"request": "renda_liquida_mes"}, 8000.0, -1e-4, 0.1),
    "valor": ("number", {"request": "valor_solicitado"}, 40000.0, 1e-5, 0.0),
    "serasa": ("number", {"view": "proponente", "feature": "serasa_score_medio"}, 600.0, -4e-3, 0.2),
    "ibama": ("boolean", {"view": "perfil", "feature": "ibama_autuacoes_ativas"}, 0.0, 0.8, 0.05),
    "municipio": ("number", {"view": "municipio", "feature": "taxa_risco_elevado"}, 0.3, 1.5, 0.0),
    "estado": ("number", {"view": "uf", "feature": "taxa_risco_elevado"}, 0.3, 1.0, 0.0),
    "cultura": (
        "category",
        {"request": "cultura_principal", "default": {"view": "perfil", "feature": "cultura_principal"}},
        "SOJA",
        0.0,
        0.0,
    ),
}
FIELDS = [
    {"name": "id_proponente", "type": "string", "minLength": 1, "maxLength": 64, "example": "proponente_1"},
    {"name": "uf", "type": "string", "enum": ["SP", "PR", "MT"]},
    {"name": "renda_liquida_mes", "type": "number", "minimum": 0, "maximum": 1e7, "example": 15000},
    {"name": "valor_solicitado", "type": "number", "exclusiveMinimum": 0, "maximum": 1e8, "example": 50000},
    {"name": "prazo", "type": "integer", "minimum": 1, "maximum": 360, "example": 24},
    {"name": "cultura_principal", "type": "string", "maxLength": 40, "optional": True},
]
VIEWS = {
    "proponente": {"entity": [{"request": "id_proponente"}]},
    "perfil": {"entity": [{"request": "id_proponente"}]},
    "municipio": {
        "entity": [
            {"view": "perfil", "feature": "localizacao_uf"},
            {"view": "perfil", "feature": "localizacao_municipio"},
        ]
    },
    "uf": {"entity": [{"request": "uf"}]},
}
RULE = {
    "name": "parcela_alta",
    "rule": "instalment_share",
    "amount": "valor_solicitado",
    "term": "prazo",
    "income": "renda_liquida_mes",
    "above": 0.5,
    "decision": "REVISAO_MANUAL",
    "text": "a parcela passa de metade da renda",
}
REQUEST = {
    "id_proponente": "proponente_1",
    "uf": "SP",
    "renda_liquida_mes": 15000,
    "valor_solicitado": 50000,
    "prazo": 24,
}

_SLOW_TURNS = 120  # 40 ms on a fast core


def term(name: str, value: Any) -> float:
    """What one input adds to the logit."""
    kind, _, reference, weight, missing = INPUTS[name]
    if kind == "category":
        return CULTURES.get(value or "", 0.0)
    return missing if value is None else weight * (float(value) - reference)


def probability(values: dict[str, Any], bias: float = -1.0) -> float:
    """The model's answer, by hand."""
    return 1 / (1 + math.exp(-(bias + sum(term(name, values.get(name)) for name in INPUTS))))


def graph(bias: float = -1.0, defect: str = "") -> bytes:
    """The model as ONNX, with one of the defects below, or none."""
    nodes, constants, inputs, terms = [], [], [], []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    for name, (kind, _, reference, weight, missing) in INPUTS.items():
        known = f"{name}_x" if defect == "other_input" and name == "renda" else name
        element = TensorProto.STRING if kind == "category" else TensorProto.FLOAT
        inputs.append(helper.make_tensor_value_info(known, element, [None, 1]))
        if kind == "category":
            encoder = {"keys_strings": list(CULTURES), "values_floats": list(CULTURES.values()), "default_float": 0.0}
            nodes.append(helper.make_node("LabelEncoder", [known], [f"{name}_t"], domain="ai.onnx.ml", **encoder))
        else:
            nodes += [
                helper.make_node("Sub", [known, constant(f"{name}_r", [[reference]])], [f"{name}_d"]),
                helper.make_node("Mul", [f"{name}_d", constant(f"{name}_w", [[weight]])], [f"{name}_p"]),
                helper.make_node("IsNaN", [known], [f"{name}_n"]),
                helper.make_node(
                    "Where", [f"{name}_n", constant(f"{name}_m", [[missing]]), f"{name}_p"], [f"{name}_t"]
                ),
            ]
        terms.append(f"{name}_t")
    nodes.append(helper.make_node("Sum", [*terms, constant("bias", [[bias]])], ["logit"]))
    last = "logit"
    if defect == "slow":
        wide = constant("wide", np.full((1, 1200), 0.001))
        nodes.append(helper.make_node("MatMul", [last, wide], ["slow_0"]))
        square = constant("square", np.full((1200, 1200), 1e-6))
        for turn in range(_SLOW_TURNS):
            nodes.append(helper.make_node("MatMul", [f"slow_{turn}", square], [f"slow_{turn + 1}"]))
        nodes.append(helper.make_node("ReduceMean", [f"slow_{_SLOW_TURNS}"], ["slow"], axes=[1], keepdims=1))
        nodes.append(helper.make_node("Mul", ["slow", constant("none", [[0.0]])], ["slow_none"]))
        nodes.append(helper.make_node("Add", [last, "slow_none"], ["late"]))
        last = "late"
    if defect == "fails_on_reference":
        nodes += [
            helper.make_node("Equal", ["valor", constant("usual", [[40000.0]])], ["is_usual"]),
            helper.make_node("Cast", ["is_usual"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", [constant("only", [0.0]), "index"], ["nothing"]),
            helper.make_node("Add", [last, "nothing"], ["sum"]),
        ]
        last = "sum"
    if defect == "nan":
        nodes.append(helper.make_node("Sub", [last, last], ["zero"]))
        nodes.append(helper.make_node("Div", ["zero", "zero"], ["bad"]))
        last = "bad"
    if defect != "out_of_range":
        nodes.append(helper.make_node("Sigmoid", [last], ["sigmoid"]))
        last = "sigmoid"
    output = "other" if defect == "other_output" else "probability"
    nodes.append(helper.make_node("Identity", [last], [output]))
    answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 1])
    whole = helper.make_graph(nodes, "risco", inputs, [answer], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=8).SerializeToString()


def manifest(version: int, bias: float = -1.0, **changes: Any) -> dict[str, Any]:
    rows: list[list[Any]] = [
        [15000.0, 50000.0, 700.0, 0.0, 0.2, 0.3, "SOJA"],
        [3000.0, 90000.0, None, 1.0, None, 0.4, "CAFE"],
        [None] * len(INPUTS),
    ]
    return {
        "model": NAME,
        "version": version,
        "created_at": "2026-11-01T00:00:00+00:00",
        "training_set": f"credito@{version}",
        "target": {"label": "inadimplente"},
        "inputs": [
            {"name": name, "kind": kind, "from": source, "reference": reference, "label": f"rótulo de {name}"}
            for name, (kind, source, reference, _, _) in INPUTS.items()
        ],
        "views": VIEWS,
        "request": {"fields": FIELDS},
        "thresholds": {"approve_below": 0.1, "deny_from": 0.5},
        "score": {"from": 0, "to": 1000},
        "policy": [RULE],
        "probe": {
            "rows": rows,
            "probabilities": [probability(dict(zip(INPUTS, row, strict=True)), bias) for row in rows],
            "tolerance": 1e-5,
        },
        "latency_ms": 5.0,
        "metrics": {"auc": 0.8},
        **changes,
    }


def package(state: Path, version: int, bias: float = -1.0, defect: str = "", **changes: Any) -> Path:
    """A package in the registry's folder. More defects: signature, corrupt, truncated, missing, manifest."""
    folder = state / "mlflow" / "artifacts" / f"credito-{version}"
    key = signing_key(state, create=True)
    content = b"\x00" * 500 if defect == "not_onnx" else graph(bias, defect)
    expected = manifest(version, bias + 1 if defect == "other_answer" else bias, **changes)
    made: Package = write_package(folder, content, expected, bytes(32) if defect == "signature" else key)
    if defect == "corrupt":
        damaged = bytearray(made.model)
        damaged[len(damaged) // 2] ^= 0xFF
        (folder / MODEL).write_bytes(damaged)
    if defect == "truncated":
        (folder / MODEL).write_bytes(made.model[: len(made.model) // 2])
    if defect == "missing":
        (folder / MODEL).unlink()
    if defect == "unsigned":
        (folder / SIGNATURE).unlink()
    if defect == "manifest":
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        (folder / MANIFEST).write_text(text.replace('"deny_from":0.5', '"deny_from":0.9'), encoding="utf-8")
    return folder


class Registry:
    """The tables of MLflow's database that the server reads, in a file as MLflow lays it out."""

    def __init__(self, state: Path) -> None:
        self._path = state / "mlflow" / "mlflow.db"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        tables = {
            "registered_model_aliases": "name TEXT, alias TEXT, version INT",
            "model_versions": "name TEXT, version INT, creation_time INT, current_stage TEXT",
            "model_version_tags": "name TEXT, version INT, key TEXT, value TEXT",
        }
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for name, columns in tables.items():
                connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")

    def champion(self, version: int | None, folder: Path | None = None) -> None:
        """Let the alias name a version, its package in `folder`; None deletes the alias."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute("DELETE FROM registered_model_aliases")
            if version is None:
                return
            connection.execute("INSERT INTO registered_model_aliases VALUES (?, 'champion', ?)", (NAME, version))
            if folder is not None:
                connection.execute("INSERT INTO model_versions VALUES (?, ?, 1, 'None')", (NAME, version))
                tags = {PACKAGE_TAG: folder.name, SINCE_TAG: "2026-11-01T00:00:00+00:00"}
                rows = [(NAME, version, key, value) for key, value in tags.items()]
                connection.executemany("INSERT INTO model_version_tags VALUES (?, ?, ?, ?)", rows)
