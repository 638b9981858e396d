"""From a training set to a model that may be registered: fitted, calibrated, exported, compared, judged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from datalab.errors import ModelError
from datalab.ml import calibration, estimators, preprocessing
from datalab.ml.declaration import Declaration, Input
from datalab.ml.evaluation import Evaluation, evaluate
from datalab.ml.graph import Array, Columns, Graph, Session, feeds
from datalab.ml.rows import Parts, Rows, as_served, select, some_unsent, split, take

TOLERANCE = 1e-5  # the largest difference between ONNX's and the estimator's probability that is taken
_PROBES = 16
_TIMED = 200


@dataclass(frozen=True)
class Trained:
    """A model before it has a version. `chance` is its answer on the holdout; `manifest` lacks version and date."""

    declaration: Declaration
    training_set: str
    model: bytes
    manifest: Mapping[str, Any]
    holdout: Rows
    chance: Array
    evaluation: Evaluation
    unsent: Evaluation
    largest_difference: float
    one_row_ms: float
    importance: Mapping[str, float]
    seconds: Mapping[str, float]


def train(
    declaration: Declaration,
    table: pa.Table,
    training_set: str,
    entities: Mapping[str, Sequence[str]] | None = None,
) -> Trained:
    """Train on a training set's rows; the same rows and declaration give the same model.

    `entities` names the key columns of each view, for those who trace a score.
    ModelError where the rows do not do, or ONNX does not answer as the estimator; InvalidModel for its parameters.
    """
    began = time.monotonic()
    parts = split(select(table, declaration), declaration)
    learnt = _learn(declaration, parts)
    fitted = time.monotonic()
    trained = _judge(declaration, parts, learnt)
    views = {"training_set": training_set, "views": _views(declaration, entities or {})}
    return replace(
        trained,
        training_set=training_set,
        manifest={**trained.manifest, **views},
        seconds={"learn": fitted - began, "judge": time.monotonic() - fitted},
    )


@dataclass(frozen=True)
class _Learnt:
    """What the training and calibration rows gave. `columns`: the training rows as the model saw them."""

    columns: Columns
    prepared: preprocessing.Prepared
    estimator: Any
    calibrator: calibration.Calibrator
    model: bytes


def _learn(declaration: Declaration, parts: Parts) -> _Learnt:
    first, second = parts.training, parts.calibration
    columns = as_served(first, declaration, some_unsent(first, declaration))
    prepared, matrix = preprocessing.prepare(declaration, columns, first.label)
    estimator = estimators.fit(declaration, matrix, first.label)
    later = as_served(second, declaration, some_unsent(second, declaration))
    raw = estimators.probabilities(estimator, _transformed(declaration, prepared, later))
    calibrator = calibration.calibrate(declaration.calibration, raw, second.label)
    return _Learnt(columns, prepared, estimator, calibrator, _assemble(declaration, prepared, estimator, calibrator))


def _judge(declaration: Declaration, parts: Parts, learnt: _Learnt) -> Trained:
    held = as_served(parts.holdout, declaration)
    chance = Session(learnt.model).probabilities(held)
    matrix = _transformed(declaration, learnt.prepared, held)
    expected = learnt.calibrator(estimators.probabilities(learnt.estimator, matrix))
    difference = _compare(declaration, chance, expected)
    bare = Session(learnt.model).probabilities(as_served(parts.holdout, declaration, sent=False))
    evaluation, unsent = (_evaluate(declaration, parts.holdout, answer) for answer in (chance, bare))
    reference = _reference(declaration, learnt.columns, parts.training.label)
    manifest = _manifest(declaration, reference, _probe(declaration, learnt.model, held))
    figures = {**evaluation.figures, "unsent_auc": unsent.figures["auc"], "rows": len(parts.holdout)}
    return Trained(
        declaration,
        "",
        learnt.model,
        {**manifest, "metrics": {**figures, **_spans(parts)}},
        parts.holdout,
        chance,
        evaluation,
        unsent,
        difference,
        latency(learnt.model, held),
        _importance(learnt.estimator, learnt.prepared.columns),
        {},
    )


def _spans(parts: Parts) -> dict[str, str]:
    first, last = parts.holdout.span
    return {"trained_until": parts.calibration.span[1], "holdout_from": first, "holdout_until": last}


def latency(model: bytes, columns: Columns) -> float:
    """Median milliseconds for one row, in one thread as the server runs it."""
    session = Session(model, threads=1)
    taken = []
    for number in range(_TIMED):
        row = feeds(columns, slice(number % len(next(iter(columns.values()))), None))
        one = {name: part[:1] for name, part in row.items()}
        began = time.perf_counter()
        session.run(one)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken) * 1000)


def _transformed(declaration: Declaration, prepared: preprocessing.Prepared, columns: Columns) -> Array:
    """The preprocessing alone, as the served graph computes it."""
    graph = Graph()
    session = Session(graph.finish(preprocessing.emit(graph, declaration, prepared), None))
    return session.run(feeds(columns))


def _assemble(
    declaration: Declaration, prepared: preprocessing.Prepared, estimator: Any, calibrator: calibration.Calibrator
) -> bytes:
    graph = Graph()
    matrix = preprocessing.emit(graph, declaration, prepared)
    raw = estimators.emit(graph, estimator, matrix, len(prepared.columns))
    return graph.finish(calibration.emit(graph, calibrator, raw))


def _compare(declaration: Declaration, chance: Array, expected: Array) -> float:
    difference = float(np.abs(chance - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{declaration.name}: on {len(chance):,} holdout rows ONNX differs from {declaration.estimator} by up to "
            f"{difference:.2g}, more than {TOLERANCE}",
            "choose another estimator or other parameters; nothing was registered",
        )
    return difference


def _evaluate(declaration: Declaration, rows: Rows, chance: Array) -> Evaluation:
    groups = {column: rows.texts(column) for column in declaration.groups}
    return evaluate(chance, rows.label, declaration.thresholds, groups, declaration.seed)


def _reference(declaration: Declaration, columns: Columns, happened: Array) -> dict[str, Any]:
    """The customer that reasons compare with: the typical value of each input among those who paid."""
    paid = take(columns, ~happened)
    return {part.name: _typical(part, paid[part.name]) for part in declaration.inputs}


def _typical(part: Input, column: Array) -> Any:
    if part.kind == "category":
        levels, counts = np.unique(column[column != ""].astype(str), return_counts=True)
        return str(levels[counts.argmax()]) if len(levels) else None
    known = column[np.isfinite(column)]
    if not len(known):
        return None
    middle = float(np.float32(np.median(known)))
    return float(middle >= 0.5) if part.kind == "boolean" else middle


def _probe(declaration: Declaration, model: bytes, columns: Columns) -> dict[str, Any]:
    """Rows with their answers, by which the server tells that it loaded the right thing: some real, one all missing."""
    count = len(next(iter(columns.values())))
    chosen = take(columns, np.unique(np.linspace(0, count - 1, _PROBES).astype(int)))
    nothing: dict[str, Array] = {
        part.name: np.array([""], dtype=object) if part.kind == "category" else np.array([np.nan], dtype=np.float32)
        for part in declaration.inputs
    }
    whole = {name: np.concatenate([chosen[name], nothing[name]]) for name in chosen}
    values = [[_plain(value) for value in whole[part.name]] for part in declaration.inputs]
    answers = Session(model).probabilities(whole)
    return {
        "rows": [list(row) for row in zip(*values, strict=True)],
        "probabilities": answers.tolist(),
        "tolerance": TOLERANCE,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value or None
    return None if np.isnan(value) else float(value)


def _manifest(declaration: Declaration, reference: Mapping[str, Any], probe: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": declaration.name,
        "target": {"label": declaration.label, "moment": declaration.moment},
        "inputs": [_as_json(part, reference[part.name]) for part in declaration.inputs],
        "request": {"fields": [field.as_json() for field in declaration.fields]},
        "thresholds": vars(declaration.thresholds),
        "score": {"from": 0, "to": 1000},
        "policy": [dict(rule) for rule in declaration.policy],
        "probe": probe,
        "latency_ms": declaration.gate.latency_ms,
    }


def _views(declaration: Declaration, entities: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    views = {}
    for name, parts in declaration.views.items():
        columns = [{"column": column} for column in entities.get(name, ())] or [{} for _ in parts]
        views[name] = {"entity": [part.as_json() | column for part, column in zip(parts, columns, strict=True)]}
    return views


def _as_json(part: Input, reference: Any) -> dict[str, Any]:
    source: dict[str, Any] = part.source.as_json()
    if part.source.view is None:
        source["default"] = None if part.default is None else part.default.as_json()
    words = {key: getattr(part, key) for key in ("label", "up", "down")}
    more = {"group": part.group} if part.group else {}
    return {
        "name": part.name,
        "kind": part.kind,
        "from": source,
        "column": part.own_column,
        "reference": reference,
        **words,
        **more,
    }


def _importance(estimator: Any, columns: tuple[str, ...]) -> dict[str, float]:
    weights = getattr(estimator, "feature_importances_", None)
    if weights is None:
        weights = np.abs(getattr(estimator, "coef_", np.zeros((1, len(columns))))[0])
    total = float(np.sum(weights)) or 1.0
    ranked = sorted(zip(columns, np.asarray(weights, dtype=float) / total, strict=True), key=lambda item: -item[1])
    return {name: round(float(weight), 4) for name, weight in ranked}
