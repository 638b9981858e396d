"""Drift: whether newest rows are distributed as the rows that a model was trained on, feature by feature, and in score.

Population stability index over bins of the reference, PSI = Σ (q - p) · ln(q / p). Without drift PSI / (1/n + 1/m) is
about χ² with bins - 1 degrees of freedom (Yurdakul and Naranjo 2020, Journal of Risk Model Validation 14), so small
samples are not called drift for being noisy. The two-sample Kolmogorov-Smirnov test beside it needs no bins.
All tests of one comparison share the level by Holm's method (1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from datalab.ml.graph import Array, Columns

SCORE = "score"
_BINS = 10
_LEVELS = 20


@dataclass(frozen=True)
class Shift:
    """One feature, or the score. `p` is the smaller adjusted p-value of both tests; `ks` is None for categories.

    `sizes`: values compared, of the reference and of the newest rows.
    """

    feature: str
    psi: float
    critical: float
    ks: float | None
    p: float
    drifted: bool
    reference: Sequence[float]
    newest: Sequence[float]
    bins: Sequence[str]
    sizes: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """What was compared: so many rows against so many, all features and the score."""

    reference_rows: int
    newest_rows: int
    shifts: tuple[Shift, ...]

    @property
    def drifted(self) -> tuple[Shift, ...]:
        """Features whose shift is significant, and large enough to matter."""
        return tuple(shift for shift in self.shifts if shift.drifted)


@dataclass(frozen=True)
class _Tested:
    feature: str
    psi: float
    critical: float
    psi_p: float
    ks: float | None
    ks_p: float | None
    shares: tuple[Array, Array]
    bins: tuple[str, ...]


def compare(reference: Columns, newest: Columns, alpha: float, least: float) -> Comparison:
    """Compare columns of the same names, not all of one length: floats with NaN, or texts; one may be the score.

    A feature has drifted where a test is significant at `alpha` over all of them, and its PSI is at least `least`.
    """
    tested = [_test(name, reference[name], newest[name], alpha) for name in reference]
    plain = [p for part in tested for p in (part.psi_p, part.ks_p) if p is not None]
    adjusted = iter(_holm(plain))
    shifts = []
    for part in tested:
        p = min(next(adjusted), next(adjusted) if part.ks_p is not None else 1.0)
        before, after = part.shares
        shifts.append(
            Shift(
                part.feature,
                part.psi,
                part.critical,
                part.ks,
                p,
                bool(p < alpha and part.psi >= least),
                before.tolist(),
                after.tolist(),
                part.bins,
                (len(reference[part.feature]), len(newest[part.feature])),
            )
        )
    first, second = (max(len(column) for column in part.values()) for part in (reference, newest))
    return Comparison(first, second, tuple(sorted(shifts, key=lambda shift: -shift.psi)))


def psi(reference: Array, newest: Array) -> float:
    """The index of two vectors of counts. Half a row is added to each bin, so that empty ones stay finite."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (reference, newest))
    return float(((q - p) * np.log(q / p)).sum())


def _test(name: str, reference: Array, newest: Array, alpha: float) -> _Tested:
    text = reference.dtype == object
    bins, counts = (_levels if text else _quantiles)(reference, newest)
    value = psi(*counts)
    freedom, scale = max(1, len(bins) - 1), 1 / len(reference) + 1 / len(newest)
    ks = ks_p = None
    if not text:
        first, second = (column[np.isfinite(column)].astype(float) for column in (reference, newest))
        if len(first) and len(second):
            found = stats.ks_2samp(first, second, method="asymp")
            ks, ks_p = float(found.statistic), float(found.pvalue)
    shares = (counts[0] / max(1, counts[0].sum()), counts[1] / max(1, counts[1].sum()))
    critical, p = float(stats.chi2.ppf(1 - alpha, freedom) * scale), float(stats.chi2.sf(value / scale, freedom))
    return _Tested(name, value, critical, p, ks, ks_p, shares, bins)


def _quantiles(reference: Array, newest: Array) -> tuple[tuple[str, ...], tuple[Array, Array]]:
    known = reference[np.isfinite(reference)].astype(float)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.zeros(0)
    words = [f"≤ {edge:.4g}" for edge in edges] + ([f"> {edges[-1]:.4g}"] if len(edges) else ["all"])
    counts = tuple(_binned(column, edges) for column in (reference, newest))
    kept = (counts[0] + counts[1]) > 0  # nobody is missing: no bin for it
    return tuple(np.array([*words, "missing"])[kept]), (counts[0][kept], counts[1][kept])


def _binned(column: Array, edges: Array) -> Array:
    there = np.isfinite(column)
    place = np.where(
        there, np.searchsorted(edges, np.where(there, column, 0).astype(float), side="left"), len(edges) + 1
    )
    return np.bincount(place, minlength=len(edges) + 2).astype(float)


def _levels(reference: Array, newest: Array) -> tuple[tuple[str, ...], tuple[Array, Array]]:
    levels, counts = np.unique(reference.astype(str), return_counts=True)
    common = sorted(levels[np.argsort(-counts, kind="stable")][:_LEVELS].tolist())
    words = [*common, "others"]
    found = tuple(
        np.array(
            [*((column == level).sum() for level in common), (~np.isin(column.astype(str), common)).sum()], dtype=float
        )
        for column in (reference, newest)
    )
    kept = (found[0] + found[1]) > 0
    named = np.array([word or "missing" for word in words])
    return tuple(named[kept]), (found[0][kept], found[1][kept])


def _holm(values: Sequence[float]) -> list[float]:
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values)[order] * (len(values) - np.arange(len(values)))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def as_json(comparison: Comparison) -> Mapping[str, Any]:
    """Figures without the bins."""
    names = ("feature", "psi", "critical", "ks", "p", "drifted")
    shifts = [
        {**{name: getattr(shift, name) for name in names}, "values": shift.sizes[1]} for shift in comparison.shifts
    ]
    return {"reference_rows": comparison.reference_rows, "newest_rows": comparison.newest_rows, "features": shifts}
