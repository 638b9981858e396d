"""Calibration: from the estimator's raw answer to a probability that means what it says, learnt on later rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from datalab.ml.graph import Array, Graph

Method = Literal["sigmoid", "isotonic", "none"]
_STEP = 0.005
_EDGE = 1e-4  # a forest answers 0 and 1 where all trees agree; logits need room


@dataclass(frozen=True)
class Calibrator:
    """`sigmoid`: p = 1 / (1 + exp(-(slope · logit(raw) + shift))), Platt (1999) on the logit.

    `isotonic`: the piecewise linear function through `points` (Zadrozny and Elkan 2002), constant outside.
    """

    method: Method
    slope: float = 1.0
    shift: float = 0.0
    points: tuple[tuple[float, float], ...] = ()

    def __call__(self, raw: Array) -> Array:
        """Probabilities from raw answers, [N]."""
        if self.method == "none":
            return raw
        if self.method == "isotonic":
            x, y = np.array(self.points).T
            risen: Array = np.interp(raw, x, y)
            return risen
        answer: Array = 1 / (1 + np.exp(-(self.slope * logit(raw) + self.shift)))
        return answer


def logit(raw: Array) -> Array:
    """log(p / (1 - p)), p kept away from 0 and 1."""
    kept = np.clip(raw, _EDGE, 1 - _EDGE)
    answer: Array = np.log(kept / (1 - kept))
    return answer


def calibrate(method: Method, raw: Array, label: Array) -> Calibrator:
    """Learn from rows that the estimator has not seen."""
    if method == "none":
        return Calibrator(method)
    if method == "isotonic":
        fitted = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(raw, label.astype(float))
        pairs = zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True)
        return Calibrator(method, points=_apart(tuple(pairs)))
    fitted = LogisticRegression(C=1e6).fit(logit(raw).reshape(-1, 1), label)
    return Calibrator(method, float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def _apart(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """The same function with no steeper step than single precision can follow; both ends stay."""
    kept = [points[0]]
    for point in points[1:-1]:
        if point[0] - kept[-1][0] >= _STEP and points[-1][0] - point[0] >= _STEP:
            kept.append(point)
    return (*kept, points[-1]) if len(points) > 1 else points


def emit(graph: Graph, calibrator: Calibrator, raw: str) -> str:
    """Write the calibration into a graph; [N, 1] in and out."""
    if calibrator.method == "none":
        return raw
    if calibrator.method == "isotonic":
        return _emit_ramps(graph, calibrator, raw)
    low, high = graph.constant(_EDGE), graph.constant(1 - _EDGE)
    kept = graph.node("Clip", raw, low, high)
    odds = graph.node("Div", kept, graph.node("Sub", graph.constant([[1.0]]), kept))
    scaled = graph.node("Mul", graph.node("Log", odds), graph.constant([[calibrator.slope]]))
    return graph.node("Sigmoid", graph.node("Add", scaled, graph.constant([[calibrator.shift]])))


def _emit_ramps(graph: Graph, calibrator: Calibrator, raw: str) -> str:
    """A piecewise linear function as its first value plus, per piece, the slope times the way into the piece."""
    x, y = np.array(calibrator.points).T
    width = np.diff(x)
    slope = np.diff(y) / width if len(width) else np.zeros(0)
    if not len(slope):
        return graph.node("Add", graph.node("Mul", raw, graph.constant([[0.0]])), graph.constant([[y[0]]]))
    way = graph.node("Max", graph.node("Sub", raw, graph.constant([x[:-1]])), graph.constant([[0.0]]))
    steps = graph.node("Mul", graph.node("Min", way, graph.constant([width])), graph.constant([slope]))
    total = graph.node("ReduceSum", steps, graph.constant([1], np.int64), keepdims=1)
    risen = graph.node("Add", total, graph.constant([[y[0]]]))
    return graph.node("Clip", risen, graph.constant(0.0), graph.constant(1.0))
