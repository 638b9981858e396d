"""Pictures of an evaluation and of drift, as PNG files. The only place that draws."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from datalab.ml.declaration import Thresholds
from datalab.ml.drift import Comparison
from datalab.ml.evaluation import Evaluation
from datalab.ml.metrics import Array

_DID, _DID_NOT, _QUIET = "#b3432b", "#2f6f8f", "#8a8a8a"
_MOST = 12


def draw_evaluation(path: Path, evaluation: Evaluation, chance: Array, happened: Array, thresholds: Thresholds) -> Path:
    """Calibration, distributions with the thresholds, ROC, and groups beside each other."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    ((first, second), (third, fourth)) = figure.subplots(2, 2)
    _calibration(first, evaluation)
    _distributions(second, chance, happened, thresholds)
    _roc(third, chance, happened, evaluation.figures["auc"])
    _groups(fourth, evaluation)
    return _saved(figure, path)


def draw_drift(path: Path, comparison: Comparison, least: float) -> Path:
    """The largest shifts: PSI with the value that chance alone would exceed, and the bins of the first."""
    shown = comparison.shifts[:_MOST]
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    places = np.arange(len(shown))
    left.barh(places, [shift.psi for shift in shown], color=[_DID if shift.drifted else _DID_NOT for shift in shown])
    left.plot([shift.critical for shift in shown], places, "|", color="black", markersize=12, label="by chance at most")
    left.axvline(least, color=_QUIET, linestyle=":", label=f"matters from {least}")
    left.set(yticks=places, yticklabels=[shift.feature for shift in shown], xlabel="PSI")
    left.invert_yaxis()
    left.legend(frameon=False)
    if shown:
        _bins(right, shown[0])
    return _saved(figure, path)


def _saved(figure: Figure, path: Path) -> Path:
    """Names of groups and levels are data: dollars in them are no formulas, and letters of any script are welcome."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path, dpi=90, metadata={"Software": None})
    return path


def _calibration(axes: Any, evaluation: Evaluation) -> None:
    said, was = ([point[key] for point in evaluation.curve] for key in ("chance", "happened"))
    axes.plot([0, 1], [0, 1], color=_QUIET, linestyle=":")
    axes.plot(said, was, "o-", color=_DID_NOT)
    error = evaluation.figures["calibration_error"]
    axes.set(title=f"Calibration: error {error:.4f}", xlabel="probability said", ylabel="share that happened")


def _distributions(axes: Any, chance: Array, happened: Array, thresholds: Thresholds) -> None:
    bins = np.linspace(0, 1, 41)
    axes.hist(chance[~happened], bins, density=True, alpha=0.6, color=_DID_NOT, label="did not happen")
    axes.hist(chance[happened], bins, density=True, alpha=0.6, color=_DID, label="happened")
    for limit in (thresholds.approve_below, thresholds.deny_from):
        axes.axvline(limit, color="black", linestyle="--", linewidth=1)
    axes.set(title="Probabilities and thresholds", xlabel="probability said", yticks=[])
    axes.legend(frameon=False)


def _roc(axes: Any, chance: Array, happened: Array, area: float) -> None:
    order = np.argsort(-chance, kind="stable")
    hits = happened[order]
    axes.plot([0, 1], [0, 1], color=_QUIET, linestyle=":")
    axes.plot(np.cumsum(~hits) / (~hits).sum(), np.cumsum(hits) / hits.sum(), color=_DID_NOT)
    axes.set(title=f"ROC: area {area:.4f}", xlabel="false alarms", ylabel="found")


def _groups(axes: Any, evaluation: Evaluation) -> None:
    largest = sorted(evaluation.groups, key=lambda group: -group.rows)[:_MOST]
    places = np.arange(len(largest))
    colours = [_DID if group.worse else _DID_NOT for group in largest]
    axes.scatter([group.chance for group in largest], places, marker="|", s=120, color="black", label="said")
    axes.scatter([group.happened for group in largest], places, color=colours, label="happened")
    axes.set(yticks=places, yticklabels=[group.value for group in largest], title="Largest groups (red: worse off)")
    axes.legend(frameon=False)


def _bins(axes: Any, shift: Any) -> None:
    places = np.arange(len(shift.bins))
    axes.bar(places - 0.2, shift.reference, 0.4, color=_QUIET, label="training window")
    axes.bar(places + 0.2, shift.newest, 0.4, color=_DID if shift.drifted else _DID_NOT, label="newest window")
    axes.set(title=f"{shift.feature}: PSI {shift.psi:.3f}", xticks=places)
    axes.set_xticklabels(shift.bins, rotation=60, ha="right", fontsize=8)
    axes.legend(frameon=False)
