"""Estimators as nodes of a graph: what is left out changes no answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import ensemble

from datalab.ml.estimators import emit
from datalab.ml.graph import Graph, Session

WIDTH = 4


def answers(estimator: Any, rows: np.ndarray) -> tuple[np.ndarray, bytes]:
    graph = Graph()
    columns = [graph.input(f"x{number}", text=False) for number in range(WIDTH)]
    model = graph.finish(emit(graph, estimator, graph.node("Concat", *columns, axis=1), WIDTH))
    return Session(model).probabilities(dict(zip(columns, rows.T, strict=True))), model


@pytest.mark.parametrize("kind", ["RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier"])
def test_a_forest_is_asked_only_for_the_sum_of_its_trees(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(3)
    rows = chance.normal(size=(800, WIDTH)).astype(np.float32)
    label = (rows.sum(axis=1) + chance.normal(size=800) > 0).astype(np.int64)
    estimator = getattr(ensemble, kind)(n_estimators=20, min_samples_leaf=3, random_state=1).fit(rows, label)
    ours, model = answers(estimator, rows)
    monkeypatch.setattr(Graph, "sum_of_trees", lambda *_: None)
    theirs, converted = answers(estimator, rows)
    assert ours.tolist() == theirs.tolist()
    assert b"TreeEnsembleClassifier" in converted
    assert (b"TreeEnsembleClassifier" in model) == (kind == "GradientBoostingClassifier")


def test_a_forest_of_three_classes_keeps_its_classifier() -> None:
    rows = np.random.default_rng(5).normal(size=(300, WIDTH)).astype(np.float32)
    label = np.digitize(rows[:, 0], [-0.5, 0.5])
    estimator = ensemble.RandomForestClassifier(n_estimators=9, random_state=1).fit(rows, label)
    found, _ = answers(estimator, rows)
    assert found == pytest.approx(estimator.predict_proba(rows)[:, 1], abs=1e-6)
