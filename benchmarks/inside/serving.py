"""A project with a forest to serve: one model as ONNX for the server, and the same one as joblib for its peers.

Its parameters are those of the farmers' example.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from benchmarks.measure import ROOT
from datalab.features.online.base import Layout, Version
from datalab.ml.estimators import emit
from datalab.ml.graph import Graph
from datalab.ml.package import signing_key, write_package
from datalab.platform.online import wire_online_store
from datalab.platform.serving import wire_keys
from datalab.platform.settings import load

STATES, CROPS = ["SP", "PR", "MT", "GO", "RS", "BA"], ["SOJA", "MILHO", "CAFE", "CANA", "ARROZ"]
PARAMS = yaml.safe_load((ROOT / "examples/agro/models/credito.yaml").read_text(encoding="utf-8"))["params"]
FROM_VIEW = {
    "proponente": ["serasa_score_medio", "valor_medio_solicitado", "taxa_autuacoes_ibama"],
    "perfil": ["serasa_score", "area_total_hectares", "anos_experiencia"],
    "municipio": ["taxa_risco_elevado", "area_media_hectares"],
    "uf": ["taxa_risco_elevado"],
}
NUMBERS = ["renda_liquida_mes", "valor_solicitado", *(f"{v}__{f}" for v, names in FROM_VIEW.items() for f in names)]
TEXTS = ["uf", "cultura_principal"]
FIELDS = [
    {"name": "id_proponente", "type": "string", "maxLength": 64},
    {"name": "uf", "type": "string", "enum": STATES},
    {"name": "renda_liquida_mes", "type": "number", "minimum": 0},
    {"name": "valor_solicitado", "type": "number", "minimum": 0},
    {"name": "prazo", "type": "integer", "minimum": 1, "maximum": 360},
]


def make(project: str, farmers: int) -> Mapping[str, Any]:
    """Train, export, fill the online store, make a key. Answers the key and a file of requests."""
    folder = Path(project)
    folder.mkdir(parents=True)
    settings = {"model": "credito", "rate": 10**6, "burst": 10**6}
    (folder / "datalab.yaml").write_text(f"name: fazenda\nserving: {json.dumps(settings)}\n", encoding="utf-8")
    state = folder / ".datalab"
    columns = _columns(farmers)
    pipeline = _fitted(columns)
    joblib.dump((pipeline, columns), folder / "model.joblib")
    artifacts = state / "mlflow" / "artifacts" / "1"
    write_package(artifacts, _graph(pipeline), _manifest(pipeline, columns), signing_key(state, create=True))
    _registry(state)
    _fill(folder, columns)
    _, key = wire_keys(load(folder)).create("benchmark", "admin")
    return {"key": key, "inputs": len(NUMBERS) + len(TEXTS), "root": str(ROOT)}


def _columns(rows: int) -> dict[str, Any]:
    chance = np.random.default_rng(7)
    columns: dict[str, Any] = {name: chance.gamma(2.0, 1.0, rows).astype(np.float32) for name in NUMBERS}
    columns["renda_liquida_mes"] *= 8000
    columns["valor_solicitado"] *= 40_000
    columns["uf"] = chance.choice(STATES, rows)
    columns["cultura_principal"] = chance.choice(CROPS, rows)
    return columns


def _matrix(columns: Mapping[str, Any]) -> Any:
    return np.column_stack([np.asarray(columns[name], dtype=object) for name in (*NUMBERS, *TEXTS)])


def _fitted(columns: Mapping[str, Any]) -> Any:
    rows = len(columns["uf"])
    chance = np.random.default_rng(8)
    risk = columns["valor_solicitado"] / columns["renda_liquida_mes"] / 5 + columns["perfil__serasa_score"]
    labels = risk + chance.normal(0, 1, rows) > 3
    places = list(range(len(NUMBERS))), list(range(len(NUMBERS), len(NUMBERS) + len(TEXTS)))
    encode = ColumnTransformer(
        [("n", "passthrough", places[0]), ("t", OneHotEncoder(handle_unknown="ignore"), places[1])]
    )
    return make_pipeline(encode, RandomForestClassifier(**PARAMS, random_state=7)).fit(_matrix(columns), labels)


def _graph(pipeline: Any) -> bytes:
    """The pipeline with one column per input and P(default) alone as its answer, exported as training does it."""
    graph = Graph()
    parts = [graph.node("Concat", *(graph.input(name, text=False) for name in NUMBERS), axis=1)]
    encode, forest = (step for _, step in pipeline.steps)
    for name, levels in zip(TEXTS, encode.named_transformers_["t"].categories_, strict=True):
        known = {"cats_strings": [*map(str, levels)], "zeros": 1}
        flags = graph.node("OneHotEncoder", graph.input(name, text=True), domain="ai.onnx.ml", **known)
        parts.append(graph.node("Reshape", flags, graph.constant([-1, len(levels)], np.int64)))
    matrix = graph.node("Concat", *parts, axis=1)
    return graph.finish(emit(graph, forest, matrix, forest.n_features_in_))


def _manifest(pipeline: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
    rows = _matrix(columns)[:10]
    view_of = {f"{view}__{name}": (view, name) for view, names in FROM_VIEW.items() for name in names}
    inputs = []
    for name in (*NUMBERS, *TEXTS):
        source: dict[str, Any] = {"request": name}
        if name in view_of:
            source = {"view": view_of[name][0], "feature": view_of[name][1]}
        if name == "cultura_principal":
            source = {"view": "perfil", "feature": name}
        kind = "category" if name in TEXTS else "number"
        middle = str(columns[name][0]) if name in TEXTS else float(np.median(columns[name]))
        inputs.append({"name": name, "kind": kind, "from": source, "reference": middle, "label": name})
    place = [{"view": "perfil", "feature": "localizacao_uf"}, {"view": "perfil", "feature": "localizacao_municipio"}]
    farmer = {"entity": [{"request": "id_proponente"}]}
    answers = pipeline.predict_proba(rows)[:, 1].tolist()
    return {
        "model": "credito",
        "version": 1,
        "created_at": datetime.now(UTC).isoformat(),
        "training_set": "credito@1",
        "target": {"label": "inadimplente"},
        "inputs": inputs,
        "views": {"proponente": farmer, "perfil": farmer, "municipio": {"entity": place},
                  "uf": {"entity": [{"request": "uf"}]}},
        "request": {"fields": FIELDS},
        "thresholds": {"approve_below": 0.2, "deny_from": 0.5},
        "score": {"from": 0, "to": 1000},
        "policy": [],
        "probe": {"rows": [[_plain(v) for v in row] for row in rows], "probabilities": answers, "tolerance": 1e-5},
        "latency_ms": 10.0,
        "metrics": {},
    }  # fmt: skip


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else float(value)


def _registry(state: Path) -> None:
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE registered_model_aliases (name, alias, version)")
        connection.execute("CREATE TABLE model_versions (name, version, creation_time, current_stage)")
        connection.execute("CREATE TABLE model_version_tags (name, version, key, value)")
        connection.execute("INSERT INTO registered_model_aliases VALUES ('credito', 'champion', 1)")
        connection.execute("INSERT INTO model_versions VALUES ('credito', 1, 0, 'None')")
        connection.execute("INSERT INTO model_version_tags VALUES ('credito', 1, 'datalab.package', '1')")


def _fill(folder: Path, columns: Mapping[str, Any]) -> None:
    rows = len(columns["uf"])
    towns = 500
    ids = [f"proponente_{number}" for number in range(rows)]
    town = [f"municipio_{number % towns}" for number in range(rows)]
    keys: dict[str, dict[str, Any]] = {
        "proponente": {"proponente_id": ids},
        "perfil": {"proponente_id": ids},
        "municipio": {"localizacao_uf": [STATES[n % len(STATES)] for n in range(towns)],
                      "localizacao_municipio": [f"municipio_{n}" for n in range(towns)]},
        "uf": {"localizacao_uf": STATES},
    }  # fmt: skip
    more = {
        "localizacao_uf": [STATES[n % towns % len(STATES)] for n in range(rows)],
        "localizacao_municipio": town,
        "cultura_principal": columns["cultura_principal"].tolist(),
    }
    with closing(wire_online_store(load(folder), {})) as store:
        for view, entity in keys.items():
            count = len(next(iter(entity.values())))
            features = {name: columns[f"{view}__{name}"][:count].astype(float) for name in FROM_VIEW[view]}
            features |= more if view == "perfil" else {}
            moments = pa.array([datetime(2026, 11, 20, tzinfo=UTC)] * count, pa.timestamp("us", tz="UTC"))
            table = pa.table({**entity, "feature_timestamp": moments, **features})
            kinds = tuple(str(table.schema.field(name).type) for name in features)
            layout = Layout(f"gold.{view}", tuple(entity), "feature_timestamp", tuple(features), kinds)
            claim = store.begin(view, layout, Version(1, 1))
            store.write(claim, table)
            store.finish(claim, whole=True)
