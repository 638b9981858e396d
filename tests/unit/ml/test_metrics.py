"""Figures of merit: equal to scikit-learn's, ties included; bootstrap intervals equal to drawing rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from datalab.ml import metrics
from datalab.ml.declaration import Thresholds
from datalab.ml.evaluation import evaluate

PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=2, max_size=60)


@settings(max_examples=40)
@given(PAIRS)
def test_figures_are_those_of_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    chance, happened = np.array([p for p, _ in pairs]), np.array([h for _, h in pairs])
    assert metrics.brier(chance, happened) == pytest.approx(theirs.brier_score_loss(happened, chance, pos_label=True))
    said = chance >= 0.5
    assert metrics.f1(said, happened) == pytest.approx(theirs.f1_score(happened, said, zero_division=0))
    if 0 < happened.sum() < len(happened):
        assert metrics.auc(chance, happened) == pytest.approx(theirs.roc_auc_score(happened, chance))
        false, true, _ = theirs.roc_curve(happened, chance, drop_intermediate=False)
        assert metrics.ks(chance, happened) == pytest.approx(np.abs(true - false).max())
    else:
        assert np.isnan(metrics.auc(chance, happened))


def test_a_perfect_forecast_has_no_calibration_error() -> None:
    rng = np.random.default_rng(1)
    chance = rng.random(20000)
    happened = rng.random(20000) < chance
    assert metrics.calibration_error(chance, happened) < 0.02
    assert metrics.calibration_error(chance**3, happened) > 0.1
    assert [point["rows"] for point in metrics.curve(chance, happened)] == [2000] * 10


def test_the_interval_of_a_gain_is_that_of_drawing_rows() -> None:
    rng = np.random.default_rng(2)
    happened = rng.random(800) < 0.3
    old, new = happened ^ (rng.random(800) < 0.3), happened ^ (rng.random(800) < 0.2)
    drawn = []
    for _ in range(2000):
        rows = rng.integers(0, 800, 800)
        drawn.append(metrics.f1(new[rows], happened[rows]) - metrics.f1(old[rows], happened[rows]))
    value, low, high = metrics.f1_gain(new, old, happened, seed=1)
    assert value == metrics.f1(new, happened) - metrics.f1(old, happened)
    assert (low, high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)
    assert metrics.f1_gain(new, old, happened, seed=1) == (value, low, high)


def test_an_equal_model_gains_nothing() -> None:
    said = np.array([True, False] * 50)
    assert metrics.f1_gain(said, said, said, 1) == (0, 0, 0)
    chance = np.linspace(0, 1, 100)
    assert metrics.ranking_gain("auc", chance, chance, said, 1) == (0, 0, 0)


LIMITS = Thresholds(0.15, 0.4)


def judged(seed: int, harm: str = "") -> list[str]:
    """Groups that are flagged where all are alike, but for the group `c` that is harmed."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(1, 3, 6000)
    happened = rng.random(6000) < chance
    group = rng.choice(list("abcdefgh"), 6000).astype(object)
    here = group == "c"
    if harm == "blind":
        chance[here] = rng.permutation(chance[here])
    if harm == "underestimated":
        chance[here] = chance[here] / 2
    return [found.value for found in evaluate(chance, happened, LIMITS, {"grupo": group}, 0).flagged]


def test_a_group_that_is_worse_off_is_found_and_others_are_not_accused() -> None:
    assert judged(0, "blind") == ["c"]
    assert judged(0, "underestimated") == ["c"]
    false_alarms = sum(bool(judged(seed)) for seed in range(40))
    assert false_alarms <= 6  # 5 % of 40 comparisons are 2


def test_the_confusion_adds_up() -> None:
    chance, happened = np.array([0.1, 0.2, 0.5, 0.6]), np.array([False, True, True, False])
    found = evaluate(chance, happened, LIMITS, {}, 0)
    assert found.confusion == {
        "APROVADO": {"happened": 0, "did_not": 1},
        "REVISAO_MANUAL": {"happened": 1, "did_not": 0},
        "NEGADO": {"happened": 1, "did_not": 1},
    }
