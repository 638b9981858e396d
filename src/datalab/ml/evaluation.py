"""A model judged on rows that it has not seen: overall, at its thresholds, and group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from datalab.ml import metrics
from datalab.ml.declaration import Thresholds
from datalab.ml.metrics import Array

DECISIONS = ("APROVADO", "REVISAO_MANUAL", "NEGADO")
_FEWEST = 100  # rows of a group below which its figures say nothing
_ALPHA = 0.05


@dataclass(frozen=True)
class Group:
    """One group's figures. `worse` says in words what is significantly worse than overall; empty: nothing."""

    column: str
    value: str
    rows: int
    happened: float
    chance: float
    auc: float | None
    f1: float
    approved: float
    denied: float
    worse: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Figures on one set of rows. `confusion`: rows per decision and outcome."""

    rows: int
    figures: Mapping[str, float]
    f1_interval: metrics.Interval
    curve: Sequence[Mapping[str, float]]
    confusion: Mapping[str, Mapping[str, int]]
    groups: tuple[Group, ...]

    @property
    def flagged(self) -> tuple[Group, ...]:
        """Groups that are significantly worse off."""
        return tuple(group for group in self.groups if group.worse)

    def as_json(self) -> dict[str, Any]:
        """All figures for programs and for the registry."""
        return {
            "rows": self.rows,
            **self.figures,
            "f1_interval": list(self.f1_interval[1:]),
            "curve": list(self.curve),
            "confusion": self.confusion,
            "groups": [vars(group) for group in self.groups],
            "flagged": [f"{group.column}={group.value}: {group.worse}" for group in self.flagged],
        }


def evaluate(
    chance: Array, happened: Array, thresholds: Thresholds, groups: Mapping[str, Array], seed: int
) -> Evaluation:
    """Judge probabilities [N] against what happened [N]. A default is said where the decision is NEGADO."""
    said = chance >= thresholds.deny_from
    figures = {
        "auc": metrics.auc(chance, happened),
        "f1": metrics.f1(said, happened),
        "ks": metrics.ks(chance, happened),
        "brier": metrics.brier(chance, happened),
        "calibration_error": metrics.calibration_error(chance, happened),
        "happened": float(happened.mean()),
        "chance": float(chance.mean()),
    }
    decided = decisions(chance, thresholds)
    confusion = {
        word: {"happened": int((here & happened).sum()), "did_not": int((here & ~happened).sum())}
        for word in DECISIONS
        for here in (decided == word,)
    }
    judged = _judge_groups(chance, happened, decided, groups, figures["auc"])
    interval = metrics.f1_interval(said, happened, seed)
    return Evaluation(len(chance), figures, interval, metrics.curve(chance, happened), confusion, judged)


def decisions(chance: Array, thresholds: Thresholds) -> Array:
    """The decision for each probability."""
    words = np.array(DECISIONS, dtype=object)
    decided: Array = words[(chance >= thresholds.approve_below).astype(int) + (chance >= thresholds.deny_from)]
    return decided


def _judge_groups(
    chance: Array, happened: Array, decided: Array, groups: Mapping[str, Array], overall: float
) -> tuple[Group, ...]:
    members = [(column, value, values == value) for column, values in groups.items() for value in sorted(set(values))]
    large = sum(int(here.sum()) >= _FEWEST for _, _, here in members)
    # Two tests a group, each one-sided or two-sided at a level that all of them share (Bonferroni).
    z = NormalDist().inv_cdf(1 - _ALPHA / max(1, 2 * large))
    return tuple(
        _judge(Group(column, str(value) or "(missing)", *_figures(chance, happened, decided, here)), overall, z)
        for column, value, here in members
    )


def _figures(chance: Array, happened: Array, decided: Array, here: Array) -> tuple[Any, ...]:
    said = decided[here] == "NEGADO"
    value = metrics.auc(chance[here], happened[here])
    return (
        int(here.sum()),
        float(happened[here].mean()),
        float(chance[here].mean()),
        None if np.isnan(value) else value,
        metrics.f1(said, happened[here]),
        float((decided[here] == "APROVADO").mean()),
        float(said.mean()),
    )


def _judge(group: Group, overall: float, z: float) -> Group:
    """The same group with what is worse: it is ranked worse than all, or its risk is misjudged."""
    if group.rows < _FEWEST:
        return group
    worse = []
    positives = round(group.rows * group.happened)
    if group.auc is not None:
        error = metrics.auc_error(group.auc, positives, group.rows - positives)
        if group.auc + z * error < overall:
            worse.append(f"AUC {group.auc:.3f} against {overall:.3f}")
    error = sqrt(max(group.chance * (1 - group.chance), 1e-9) / group.rows)
    if abs(group.chance - group.happened) > z * error:
        word = "over" if group.chance > group.happened else "under"
        worse.append(f"risk {word}estimated: {group.chance:.3f} said, {group.happened:.3f} happened")
    return Group(**{**vars(group), "worse": "; ".join(worse)})
