"""Training: what is learnt, from which rows, in which form it leaves; on a world whose truth is known."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests import loans

from datalab.errors import InvalidModel, ModelError
from datalab.ml import calibration, metrics
from datalab.ml.graph import Session
from datalab.ml.rows import as_served, select, split
from datalab.ml.training import TOLERANCE, Trained, train

KINDS = {
    "forest": {},
    "isotonic": {"calibration": "isotonic"},
    "raw": {"calibration": "none"},
    "trees": {"estimator": "sklearn.ensemble.ExtraTreesClassifier"},
    "boosting": {"estimator": "sklearn.ensemble.GradientBoostingClassifier", "params": "{n_estimators: 40}"},
    "line": {"estimator": "sklearn.linear_model.LogisticRegression", "params": "{}", "scale": "true"},
}


LIBRARIES = ["lightgbm.LGBMClassifier", "xgboost.XGBClassifier"]


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(loans.declaration(), loans.table(), "emprestimos@1")


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_answers_as_the_estimator_and_near_the_best_possible(kind: str) -> None:
    found = train(loans.declaration(**KINDS[kind]), loans.table(), "emprestimos@1")
    best = metrics.auc(found.holdout.table.column("chance").to_numpy(), found.holdout.label)
    assert found.largest_difference <= TOLERANCE
    assert best - 0.08 < found.evaluation.figures["auc"] <= 1
    assert found.evaluation.figures["calibration_error"] < 0.06
    numbers = ("valor_solicitado", "renda_liquida_mes", "autuado", "proponente__score", "municipio__risco")
    assert Session(found.model).inputs == (*numbers, "cultura_principal")


@pytest.mark.parametrize("estimator", LIBRARIES)
def test_libraries_that_are_no_dependency(estimator: str) -> None:
    model = loans.declaration(estimator=estimator, params="{n_estimators: 40}")
    if find_spec(estimator.partition(".")[0]) is None:
        with pytest.raises(InvalidModel, match=f"{estimator} is not installed"):
            train(model, loans.table(), "emprestimos@1")
        return
    pytest.importorskip("onnxmltools")
    assert train(model, loans.table(), "emprestimos@1").largest_difference <= TOLERANCE


def test_the_same_rows_give_the_same_model_in_whatever_order_they_come(trained: Trained) -> None:
    rows = loans.table()
    shuffled = rows.take(np.random.default_rng(9).permutation(rows.num_rows))
    again = train(loans.declaration(), shuffled, "emprestimos@1")
    assert again.model == trained.model
    assert again.manifest == trained.manifest
    assert train(loans.declaration(seed="4"), rows, "emprestimos@1").model != trained.model


def test_an_answer_that_differs_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the graph gets another calibration than the one that the estimator's answers go through."""
    right = calibration.emit

    def wrong(graph: object, calibrator: calibration.Calibrator, raw: str) -> str:
        return right(graph, calibration.Calibrator("sigmoid", calibrator.slope, calibrator.shift + 0.001), raw)

    monkeypatch.setattr(calibration, "emit", wrong)
    with pytest.raises(ModelError, match="on 750 holdout rows ONNX differs"):
        train(loans.declaration(), loans.table(), "emprestimos@1")


def test_parts_follow_each_other_in_time() -> None:
    model = loans.declaration(split="{calibration: 0.2, holdout: 0.3}")
    parts = split(select(loans.table(2000), model), model)
    assert [len(part) for part in vars(parts).values()] == [1000, 400, 600]
    assert parts.training.moment.max() < parts.calibration.moment.min()
    assert parts.calibration.moment.max() < parts.holdout.moment.min()


def test_rows_of_one_moment_stay_together() -> None:
    rows = loans.table(1000)
    days = pc.floor_temporal(rows.column("momento"), 60, "day")
    model = loans.declaration()
    parts = split(select(rows.set_column(1, "momento", days), model), model)
    assert parts.training.moment.max() < parts.calibration.moment.min()
    assert parts.calibration.moment.max() < parts.holdout.moment.min()


def test_nothing_is_learnt_from_outcomes_that_were_not_known() -> None:
    rows = loans.table(2000)
    later = pc.add(rows.column("momento"), pa.scalar(timedelta(days=60)))
    model = loans.declaration(known="conhecido")
    parts = split(select(rows.append_column("conhecido", later), model), model)
    begins = parts.holdout.moment[0]
    assert parts.calibration.moment.max() + 60 * 86400 * 10**6 < begins
    assert len(parts.training) + len(parts.calibration) < 1200


def test_the_window_leaves_older_rows_out() -> None:
    rows = select(loans.table(3000, days=300), loans.declaration(window="100d"))
    assert 900 < len(rows) < 1100
    assert rows.moment[-1] - rows.moment[0] < 100 * 86400 * 10**6


def test_rows_are_seen_as_the_server_sees_them() -> None:
    """Of an unknown farmer nothing is known but the request; not even the municipality that the label row names."""
    model = loans.declaration()
    rows = select(loans.table(500), model)
    unknown = np.array(rows.table.column("proponente__score").is_null())
    sent, bare = as_served(rows, model), as_served(rows, model, sent=False)
    assert np.isnan(sent["municipio__risco"][unknown]).all()
    assert not np.isnan(sent["municipio__risco"][~unknown]).any()
    assert set(bare["cultura_principal"][unknown]) == {""}
    assert list(bare["cultura_principal"][~unknown]) == list(sent["cultura_principal"][~unknown])
    assert set(sent["cultura_principal"]) == {"SOJA", "MILHO", "CAFE"}
    assert np.isnan(bare["autuado"][unknown]).all()
    assert not np.isnan(bare["valor_solicitado"]).any()


def test_every_row_gets_a_probability(trained: Trained) -> None:
    """Missing values, unknown categories, zero income, absurd amounts: an answer, never NaN."""
    rows = len(odd := [0.0, np.nan, 1e30, -1e30, np.inf])
    numbers = {name: np.array(odd, dtype=np.float32) for name in Session(trained.model).inputs[:-1]}
    crops = np.array(["", "NUNCA VISTA", "SOJA", "ção", "x" * 10_000], dtype=object)
    answers = Session(trained.model).probabilities({**numbers, "cultura_principal": crops})
    assert answers.shape == (rows,)
    assert ((answers > 0) & (answers < 1)).all()


@pytest.mark.parametrize("scale", ["true", "false"])
def test_a_sum_of_the_farthest_numbers_is_a_probability(scale: str) -> None:
    """Whatever a request may hold: two terms without end, one for and one against, would be no number."""
    derived = "{dobro: valor_solicitado + renda_liquida_mes, resto: valor_solicitado - renda_liquida_mes}"
    line = {"estimator": "sklearn.linear_model.LogisticRegression", "params": "{C: 1000}", "scale": scale}
    model = train(loans.declaration(**line, derived=derived), loans.table(), "emprestimos@1").model
    odd = [0.0, np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 1e30, 16777217.0]
    grid = np.array(list(product(odd, repeat=4)), dtype=np.float32)
    names = [name for name in Session(model).inputs if name != "cultura_principal"]
    numbers = {name: grid[:, place % 4] for place, name in enumerate(names)}
    answers = Session(model).probabilities({**numbers, "cultura_principal": np.full(len(grid), "", dtype=object)})
    assert ((answers >= 0) & (answers <= 1)).all()


def test_the_manifest_says_what_the_server_needs(trained: Trained) -> None:
    manifest = trained.manifest
    inputs = {part["name"]: part for part in manifest["inputs"]}
    assert inputs["autuado"]["from"] == {"request": "autuado", "default": {"view": "proponente", "feature": "autuado"}}
    assert inputs["valor_solicitado"]["from"] == {"request": "valor_solicitado", "default": None}
    assert inputs["cultura_principal"]["reference"] == "SOJA"
    assert 580 < inputs["proponente__score"]["reference"] < 680  # those who paid have a little more than the mean
    assert manifest["views"]["municipio"] == {"entity": [{"view": "proponente", "feature": "municipio"}]}
    assert manifest["probe"]["rows"][-1] == [None] * 6
    assert manifest["metrics"]["trained_until"] < manifest["metrics"]["holdout_from"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda rows: rows.drop_columns(["proponente__score"]), ModelError, "no column proponente__score"),
        (lambda rows: rows.slice(0, 20), ModelError, "at least 10 must have it"),
        (lambda rows: rows.slice(0, 0), ModelError, "at least 10 must have it"),
        (lambda rows: rows.set_column(5, "valor_solicitado", rows.column("uf")), ModelError, "cannot be a number"),
    ],
)
def test_rows_that_do_not_do(change: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        train(loans.declaration(), change(loans.table()), "emprestimos@1")  # type: ignore[operator]


def test_parameters_out_of_range() -> None:
    with pytest.raises(InvalidModel, match="RandomForestClassifier cannot be fitted"):
        train(loans.declaration(params="{n_estimators: -3}"), loans.table(), "emprestimos@1")
