"""A small credit world whose truth is known: a declaration of a model and training sets drawn for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from datalab.ml.declaration import Declaration
from datalab.ml.declaring import parse_model

START = datetime(2026, 1, 1, tzinfo=UTC)
DECLARED = """
training_set: emprestimos
label: inadimplente
moment: momento
estimator: sklearn.ensemble.RandomForestClassifier
params: {n_estimators: 30, min_samples_leaf: 10}
seed: 3
unsent: 0.3
groups: [uf, tipo_pessoa]
thresholds: {approve_below: 0.15, deny_from: 0.4}
gate: {latency_ms: 50, calibration_error: 0.15}
request:
  id_proponente: {type: string}
  uf: {type: string}
  valor_solicitado: {type: number, minimum: 0}
  renda_liquida_mes: {type: number, minimum: 0}
  cultura_principal: {type: string, optional: true}
  autuado: {type: boolean, optional: true}
views:
  proponente: {entity: [request.id_proponente]}
  municipio: {entity: [proponente.municipio]}
inputs:
  valor_solicitado: {label: valor}
  renda_liquida_mes: {label: renda}
  cultura_principal: {kind: category, default: proponente.cultura}
  autuado: {kind: boolean, default: proponente.autuado}
  proponente__score: {from: proponente.score}
  municipio__risco: {from: municipio.risco}
derived:
  peso: log(valor_solicitado / (renda_liquida_mes * 12))
"""


def declaration(**changes: str) -> Declaration:
    """The model above; `changes` replace or add keys of its file, in YAML."""
    tree = yaml.safe_load(DECLARED) | {key: yaml.safe_load(value) for key, value in changes.items()}
    return parse_model(yaml.safe_dump(tree, sort_keys=False), "models/emprestimos.yaml")


def table(rows: int = 3000, seed: int = 0, *, days: float = 300, first: datetime = START, **shift: Any) -> pa.Table:
    """A training set; one farmer in five is unknown. `shift`: score (moves all), risk (moves the label's logit)."""
    rng = np.random.default_rng(seed)
    known = rng.random(rows) < 0.8
    score = rng.normal(600 + shift.get("score", 0), 120, rows)
    renda = np.round(rng.lognormal(9, 0.5, rows), 2)
    valor = np.round(renda * 12 * rng.lognormal(-0.9, 0.5, rows), 2)
    cultura = rng.choice(["SOJA", "MILHO", "CAFE"], rows, p=[0.5, 0.3, 0.2])
    autuado = rng.random(rows) < 0.1
    tipo = rng.choice(["FISICA", "JURIDICA"], rows, p=[0.7, 0.3])
    logit = -1.6 + (600 - score) / 90 + 0.8 * (np.log(valor / (renda * 12)) + 0.9) + 1.1 * autuado
    logit = logit + 0.4 * (cultura == "CAFE") + shift.get("risk", 0)
    chance = 1 / (1 + np.exp(-logit))
    at = [first + timedelta(days=days * part) for part in np.sort(rng.random(rows))]

    def seen(values: Any) -> pa.Array:
        return pa.array(values, mask=~known)

    return pa.table(
        {
            "id_proponente": [f"p{number}" for number in rng.integers(0, rows, rows)],
            "momento": pa.array(at, pa.timestamp("us", tz="UTC")),
            "inadimplente": rng.random(rows) < chance,
            "uf": rng.choice(["SP", "MT", "PR"], rows),
            "tipo_pessoa": tipo,
            "valor_solicitado": valor,
            "renda_liquida_mes": renda,
            "cultura_principal": cultura,
            "autuado": autuado,
            "proponente__cultura": seen(cultura),
            "proponente__autuado": seen(autuado),
            "proponente__municipio": seen(["m"] * rows),
            "proponente__score": seen(score),
            "municipio__risco": rng.random(rows),
            "chance": chance,
        }
    )
