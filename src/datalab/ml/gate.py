"""The gate: a challenger becomes champion only if it is better on the same later rows, and all else holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from datalab.ml import metrics
from datalab.ml.manifest import Manifest
from datalab.ml.metrics import Array, Interval
from datalab.ml.package import Package
from datalab.ml.rows import Rows
from datalab.ml.scoring import missing_columns, score_rows
from datalab.ml.training import Trained

_FEWEST = 100


@dataclass(frozen=True)
class Check:
    """One condition of the gate, whether it held, and its figures in words."""

    name: str
    passed: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """What the gate says; `gain` compares with the champion where there is one."""

    checks: tuple[Check, ...]
    gain: Interval | None = None

    @property
    def passed(self) -> bool:
        """Whether the challenger may go live."""
        return all(check.passed for check in self.checks)

    @property
    def words(self) -> str:
        """The reason in a sentence: what failed, or by how much it is better."""
        failed = [check for check in self.checks if not check.passed]
        chosen = failed or [check for check in self.checks if check.name == "better"] or list(self.checks)
        return "; ".join(f"{check.name}: {check.words}" for check in chosen)

    def as_json(self) -> dict[str, Any]:
        """For programs and for the registry."""
        gain = None if self.gain is None else self.gain._asdict()
        return {"passed": self.passed, "gain": gain, "checks": [vars(check) for check in self.checks]}


def judge(trained: Trained, champion: Package | None) -> Verdict:
    """Judge a new model beside the live one."""
    checks = [*_own_checks(trained)]
    if champion is None:
        return Verdict((*checks, Check("better", True, "there is no champion yet")))
    lost = _lost_schema(trained.manifest, champion.manifest)
    checks.append(Check("schema", not lost, "; ".join(lost) or "callers of the champion can call it unchanged"))
    better, gain = _compare(trained, champion)
    return Verdict((*checks, better), gain)


def _own_checks(trained: Trained) -> Sequence[Check]:
    gate, figures = trained.declaration.gate, trained.evaluation.figures
    error = figures["calibration_error"]
    guess = figures["happened"] * (1 - figures["happened"])
    flagged = trained.evaluation.flagged
    words = ", ".join(f"{group.column}={group.value}" for group in flagged)
    return (
        Check("equal", True, f"ONNX and estimator differ by at most {trained.largest_difference:.1e} on the holdout"),
        Check("calibration", error <= gate.calibration_error, f"error {error:.4f}, at most {gate.calibration_error}"),
        Check("brier", figures["brier"] < guess, f"{figures['brier']:.4f}, always saying the mean {guess:.4f}"),
        Check(
            "latency",
            trained.one_row_ms <= gate.latency_ms,
            f"{trained.one_row_ms:.3f} ms a row, at most {gate.latency_ms}",
        ),
        *(
            Check(f"minimum {name}", figures[name] >= least, f"{figures[name]:.4f}, at least {least}")
            for name, least in gate.minimum.items()
        ),
        Check("groups", True, f"worse off, see the card: {words}" if flagged else "none is significantly worse off"),
    )


def _lost_schema(new: Manifest, old: Manifest) -> list[str]:
    """What callers of the old model send that the new one would refuse."""
    after = {field["name"]: field for field in new["request"]["fields"]}
    before = {field["name"]: field for field in old["request"]["fields"]}
    lost = [f"the request field {name} is gone" for name in before if name not in after]
    for name, field in after.items():
        if name not in before:
            if not field.get("optional"):
                lost.append(f"the request field {name} is new, and not optional")
        elif field["type"] != before[name]["type"]:
            lost.append(f"the request field {name} was {before[name]['type']} and is {field['type']}")
        elif before[name].get("optional") and not field.get("optional"):
            lost.append(f"the request field {name} was optional")
    return lost


def _compare(trained: Trained, champion: Package) -> tuple[Check, Interval | None]:
    absent = missing_columns(trained.holdout.table, champion.manifest)
    if absent:
        words = f"version {champion.version} cannot be judged: the training set lacks {', '.join(absent)}"
        return Check("better", False, words), None
    start = _unseen(trained.holdout, champion.manifest)
    rows = trained.holdout.part(start, len(trained.holdout))
    if len(rows) < _FEWEST or not 0 < rows.label.sum() < len(rows):
        return Check(
            "better", False, f"only {len(rows)} holdout rows that version {champion.version} has not seen"
        ), None
    old = score_rows(champion, rows)
    gain = _gain(trained, champion.manifest, rows, trained.chance[start:], old)
    metric, least = trained.declaration.metric, trained.declaration.gate.gain
    own, other = (
        _figure(metric, chance, rows.label, limit)
        for chance, limit in ((trained.chance[start:], trained.manifest), (old, champion.manifest))
    )
    words = (
        f"{metric} {own:.4f} against {other:.4f} of version {champion.version} on {len(rows):,} rows, "
        f"{gain.value:+.4f} (95 % {gain.low:+.4f} … {gain.high:+.4f})"
    )
    return Check("better", gain.value > least, words), gain


def _unseen(rows: Rows, manifest: Manifest) -> int:
    """The first row after everything that a model learnt from."""
    until = manifest["metrics"].get("trained_until")
    if until is None:
        return 0
    moment = int(datetime.fromisoformat(until).timestamp() * 1e6)
    return int(np.searchsorted(rows.moment, moment, side="right"))


def _gain(trained: Trained, other: Mapping[str, Any], rows: Rows, new: Array, old: Array) -> Interval:
    if trained.declaration.metric != "f1":
        return metrics.ranking_gain(trained.declaration.metric, new, old, rows.label, trained.declaration.seed)
    own, theirs = (part["thresholds"]["deny_from"] for part in (trained.manifest, other))
    return metrics.f1_gain(new >= own, old >= theirs, rows.label, trained.declaration.seed)


def _figure(metric: str, chance: Array, happened: Array, manifest: Mapping[str, Any]) -> float:
    if metric == "f1":
        return metrics.f1(chance >= manifest["thresholds"]["deny_from"], happened)
    return (metrics.auc if metric == "auc" else metrics.ks)(chance, happened)
