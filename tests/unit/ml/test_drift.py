"""Drift: planted shifts are found at once, and where nothing has shifted the alarms are as rare as the level says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from datalab.ml.drift import compare, psi

ALPHA = 0.01


def columns(rows: int, seed: int, **shift: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(600 + shift.get("score", 0), 120, rows).astype(np.float32)
    score[rng.random(rows) < 0.1 + shift.get("missing", 0)] = np.nan
    crop = np.array([0.5 - shift.get("crop", 0), 0.3, 0.2 + shift.get("crop", 0)])
    return {
        "score": score,
        "valor": rng.lognormal(10, 1, rows).astype(np.float32),
        "taxa": rng.choice(np.array([0, 0.5, 1], dtype=np.float32), rows, p=[0.8, 0.1, 0.1]),
        "autuado": (rng.random(rows) < 0.08).astype(np.float32),
        "cultura": rng.choice(np.array(["SOJA", "MILHO", "CAFE"], dtype=object), rows, p=crop).astype(object),
        "constante": np.ones(rows, dtype=np.float32),
    }


@pytest.mark.parametrize(
    ("shift", "feature"), [({"score": 60}, "score"), ({"missing": 0.2}, "score"), ({"crop": 0.2}, "cultura")]
)
@pytest.mark.parametrize("rows", [600, 5000])
def test_planted_drift_is_found_and_nothing_else(shift: dict[str, float], feature: str, rows: int) -> None:
    for seed in range(5):
        found = compare(columns(8000, seed), columns(rows, 100 + seed, **shift), ALPHA, 0.1)
        assert [part.feature for part in found.drifted] == [feature]


@pytest.mark.parametrize("rows", [60, 300, 3000])
def test_false_alarms_are_as_rare_as_the_level_says(rows: int) -> None:
    """100 comparisons of 6 features without drift; without the least PSI, so that the tests alone decide."""
    alarms = sum(bool(compare(columns(4000, s), columns(rows, 1000 + s), 0.05, 0).drifted) for s in range(100))
    assert alarms <= 11  # 5 expected; more than 11 happen by chance once in 200 times


def test_a_small_sample_is_noisy_and_no_drift() -> None:
    """With 50 rows the index alone says 0.1 and more, which a fixed limit would call drift."""
    found = [compare(columns(4000, seed), columns(50, 500 + seed), ALPHA, 0.1) for seed in range(20)]
    assert sum(part.psi > 0.1 for each in found for part in each.shifts) > 20
    assert sum(bool(each.drifted) for each in found) <= 1


def test_significant_and_too_small_to_matter() -> None:
    found = compare(columns(200_000, 1), columns(200_000, 2, score=4), ALPHA, 0.1)
    score = next(part for part in found.shifts if part.feature == "score")
    assert score.p < ALPHA
    assert not score.drifted


def test_the_index_follows_its_distribution() -> None:
    """PSI / (1/n + 1/m) is χ² with bins - 1 degrees of freedom, also far out."""
    rng = np.random.default_rng(5)
    values = []
    for _ in range(2000):
        first, second = rng.multinomial(5000, [0.1] * 10), rng.multinomial(700, [0.1] * 10)
        values.append(psi(first, second) / (1 / 5000 + 1 / 700))
    assert stats.kstest(values, stats.chi2(9).cdf).pvalue > 0.01


def test_the_index_of_known_shares() -> None:
    expected = 0.2 * np.log(0.7 / 0.5) + -0.2 * np.log(0.3 / 0.5)
    assert psi(np.array([5e8, 5e8]), np.array([7e8, 3e8])) == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(psi(np.array([10.0, 0.0]), np.array([0.0, 10.0])))
