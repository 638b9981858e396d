"""Figures of merit of probabilities against what happened. Every array is [N]; `happened` is bool."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_BINS = 10


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def auc(chance: Array, happened: Array) -> float:
    """P(something that happened had the higher chance), ties count half; NaN where all or nothing happened."""
    positives = int(happened.sum())
    negatives = len(happened) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(chance, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[happened].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auc_error(value: float, positives: int, negatives: int) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    rest = (positives - 1) * (q1 - value**2) + (negatives - 1) * (q2 - value**2)
    return float(np.sqrt((value * (1 - value) + rest) / (positives * negatives)))


def ks(chance: Array, happened: Array) -> float:
    """The largest distance between the distributions of those that happened and those that did not."""
    order = np.argsort(chance, kind="stable")
    hits = happened[order]
    ends = np.append(np.flatnonzero(np.diff(chance[order])), len(chance) - 1)
    above = np.cumsum(hits)[ends] / max(1, hits.sum())
    below = np.cumsum(~hits)[ends] / max(1, (~hits).sum())
    return float(np.abs(above - below).max())


def f1(said: Array, happened: Array) -> float:
    """2 TP / (2 TP + FP + FN); 0 where nothing was said and nothing happened."""
    hits, wrong = int((said & happened).sum()), int((said ^ happened).sum())
    return 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0


def brier(chance: Array, happened: Array) -> float:
    """Mean squared distance to what happened (Brier 1950)."""
    return float(np.mean((chance - happened) ** 2))


def curve(chance: Array, happened: Array) -> list[dict[str, float]]:
    """The calibration curve: bins of equal size, with mean chance, share that happened, and rows."""
    order = np.argsort(chance, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    return [
        {"chance": float(chance[part].mean()), "happened": float(happened[part].mean()), "rows": len(part)}
        for part in parts
    ]


def calibration_error(chance: Array, happened: Array) -> float:
    """Mean distance between chance and share over bins of equal size (ECE, Naeini and others 2015)."""
    points = curve(chance, happened)
    return sum(abs(point["chance"] - point["happened"]) * point["rows"] for point in points) / len(chance)


def f1_interval(said: Array, happened: Array, seed: int, draws: int = 4000) -> Interval:
    """F1 with its percentile bootstrap interval (Efron 1979).

    Rows fall into four cells, so drawing rows again is drawing the cells' counts from a multinomial.
    """
    counts = np.bincount(2 * said.astype(int) + happened, minlength=4)
    drawn = np.random.default_rng([seed, 2]).multinomial(len(said), counts / len(said), size=draws)
    return _interval(f1(said, happened), _f1_of(drawn[:, 3], drawn[:, 1] + drawn[:, 2]))


def f1_gain(new: Array, old: Array, happened: Array, seed: int, draws: int = 4000) -> Interval:
    """F1 of `new` less F1 of `old` on the same rows, drawn in pairs: eight cells."""
    counts = np.bincount(4 * new.astype(int) + 2 * old.astype(int) + happened, minlength=8)
    drawn = np.random.default_rng([seed, 3]).multinomial(len(new), counts / len(new), size=draws)
    hits_new, hits_old = drawn[:, 5] + drawn[:, 7], drawn[:, 3] + drawn[:, 7]
    wrong_new = drawn[:, 4] + drawn[:, 6] + drawn[:, 1] + drawn[:, 3]
    wrong_old = drawn[:, 2] + drawn[:, 6] + drawn[:, 1] + drawn[:, 5]
    gains = _f1_of(hits_new, wrong_new) - _f1_of(hits_old, wrong_old)
    return _interval(f1(new, happened) - f1(old, happened), gains)


def ranking_gain(kind: str, new: Array, old: Array, happened: Array, seed: int) -> Interval:
    """AUC or KS of `new` less that of `old`, rows drawn again 300 times."""
    figure = auc if kind == "auc" else ks
    random = np.random.default_rng([seed, 4])
    gains = []
    for _ in range(300):
        rows = random.integers(0, len(happened), len(happened))
        gains.append(figure(new[rows], happened[rows]) - figure(old[rows], happened[rows]))
    return _interval(figure(new, happened) - figure(old, happened), np.array(gains))


def _f1_of(hits: Array, wrong: Array) -> Array:
    figures: Array = 2 * hits / np.maximum(1, 2 * hits + wrong)
    return figures


def _interval(value: float, drawn: Array) -> Interval:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))
