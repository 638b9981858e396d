"""Small model packages whose answer is known: a logistic function of a few inputs, in the form of a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from datalab.ml.package import Package, write_package

STATES = ["AC", "BA", "MT", "PR", "SP"]
REQUEST_FIELDS: list[dict[str, Any]] = [
    {"name": "id_proponente", "type": "string", "maxLength": 64},
    {"name": "uf", "type": "string", "enum": STATES},
    {"name": "renda_liquida_mes", "type": "number", "minimum": 0, "maximum": 1e9},
    {"name": "valor_solicitado", "type": "number", "minimum": 1, "maximum": 1e9},
    {"name": "prazo", "type": "integer", "minimum": 1, "maximum": 360},
    {"name": "serasa_score", "type": "integer", "minimum": 0, "maximum": 1000, "optional": True},
    {"name": "cultura_principal", "type": "string", "maxLength": 64, "optional": True},
    {"name": "ibama_autuacoes_ativas", "type": "boolean", "optional": True},
]
VIEWS: dict[str, Any] = {
    "proponente": {"entity": [{"request": "id_proponente"}]},
    "perfil": {"entity": [{"request": "id_proponente"}]},
    "uf": {"entity": [{"request": "uf"}]},
}
# name: (kind, from, reference, weight of (value - reference) / scale or of a category, scale)
INPUTS: dict[str, tuple[str, dict[str, Any], Any, Any, float]] = {
    "proponente__serasa_score_medio": (
        "number", {"view": "proponente", "feature": "serasa_score_medio"}, 620, -1.5, 150,
    ),
    "serasa_score": (
        "number", {"request": "serasa_score", "default": {"view": "perfil", "feature": "serasa_score"}}, 620, -0.5, 150,
    ),
    "uf__taxa_risco_elevado": ("number", {"view": "uf", "feature": "taxa_risco_elevado"}, 0.3, 1.0, 0.2),
    "valor_solicitado": ("number", {"request": "valor_solicitado", "default": None}, 50000, 0.5, 50000),
    "renda_liquida_mes": ("number", {"request": "renda_liquida_mes", "default": None}, 12000, -0.4, 12000),
    "ibama_autuacoes_ativas": (
        "boolean",
        {"request": "ibama_autuacoes_ativas", "default": {"view": "perfil", "feature": "ibama_autuacoes_ativas"}},
        0, 1.2, 1,
    ),
    "cultura_principal": (
        "category",
        {"request": "cultura_principal", "default": {"view": "perfil", "feature": "cultura_principal"}},
        "SOJA", {"MANDIOCA": 0.8, "CANA_DE_ACUCAR": -0.6}, 1,
    ),
}  # fmt: skip


def probability(row: Sequence[Any], bias: float = -1.0) -> float:
    """The model's answer to one row in the order of INPUTS; None is missing and counts as the reference."""
    logit = bias
    for value, (kind, _, reference, weight, scale) in zip(row, INPUTS.values(), strict=True):
        if kind == "category":
            logit += weight.get(value, 0.0)
        elif value is not None:
            logit += weight * (float(value) - reference) / scale
    return 1 / (1 + math.exp(-logit))


def onnx_model(bias: float = -1.0) -> bytes:
    """The same function as an ONNX graph of the agreed form."""
    nodes, constants, terms = [], [], []

    def constant(name: str, value: float) -> str:
        constants.append(helper.make_tensor(name, TensorProto.FLOAT, [1], [value]))
        return name

    for name, (kind, _, reference, weight, scale) in INPUTS.items():
        if kind == "category":
            nodes.append(
                helper.make_node(
                    "LabelEncoder", [name], [f"{name}_term"], domain="ai.onnx.ml",
                    keys_strings=list(weight), values_floats=list(weight.values()), default_float=0.0,
                )
            )  # fmt: skip
        else:
            nodes += [
                helper.make_node("IsNaN", [name], [f"{name}_missing"]),
                helper.make_node(
                    "Where", [f"{name}_missing", constant(f"{name}_ref", reference), name], [f"{name}_is"]
                ),
                helper.make_node("Sub", [f"{name}_is", f"{name}_ref"], [f"{name}_off"]),
                helper.make_node("Mul", [f"{name}_off", constant(f"{name}_w", weight / scale)], [f"{name}_term"]),
            ]
        terms.append(f"{name}_term")
    nodes += [
        helper.make_node("Sum", [*terms, constant("bias", bias)], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.STRING if kind == "category" else TensorProto.FLOAT, ["N", 1])
        for name, (kind, *_) in INPUTS.items()
    ]
    answer = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph(nodes, "credito", shapes, [answer], constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def feeds(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows in the order of INPUTS as the tensors that the graph takes."""
    columns: dict[str, Any] = {}
    for name, (kind, *_), values in zip(INPUTS, INPUTS.values(), zip(*rows, strict=True), strict=True):
        if kind == "category":
            columns[name] = np.array([["" if value is None else value] for value in values], dtype=object)
        else:
            columns[name] = np.array([[np.nan if value is None else value] for value in values], dtype=np.float32)
    return columns


PROBE = [
    [620, 620, 0.3, 50000, 12000, 0, "SOJA"],
    [None, None, 0.5, 20000, 3000, None, None],
    [400, 380, 0.4, 150000, 9000, 1, "MANDIOCA"],
]


def manifest(version: int = 1, bias: float = -1.0, **changes: Any) -> Mapping[str, Any]:
    """A sound manifest for `onnx_model(bias)`; `changes` replace whole keys."""
    inputs = [
        {
            "name": name, "kind": kind, "from": source, "reference": reference, "label": name.replace("_", " "),
            "up": f"{name} aumenta o risco", "down": f"{name} reduz o risco",
        }
        for name, (kind, source, reference, *_) in INPUTS.items()
    ]  # fmt: skip
    return {
        "model": "credito",
        "version": version,
        "created_at": "2026-11-20T08:00:00+00:00",
        "training_set": "credito@1",
        "target": {"label": "inadimplente"},
        "inputs": inputs,
        "views": VIEWS,
        "request": {"fields": REQUEST_FIELDS},
        "thresholds": {"approve_below": 0.15, "deny_from": 0.5},
        "score": {"from": 0, "to": 1000},
        "policy": [],
        "probe": {"rows": PROBE, "probabilities": [probability(row, bias) for row in PROBE], "tolerance": 1e-5},
        "latency_ms": 5.0,
        "metrics": {"auc": 0.8, "f1": 0.5},
        **changes,
    }


def make_package(folder: Path, key: bytes, *, version: int = 1, bias: float = -1.0, **changes: Any) -> Package:
    """Write a valid package; another `bias` is another model, `changes` replace keys of the manifest."""
    return write_package(folder, onnx_model(bias), manifest(version, bias, **changes), key)
