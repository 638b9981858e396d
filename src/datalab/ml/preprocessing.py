"""What happens to inputs before the estimator: derived numbers, missing values, categories, scale. Lives in the graph.

Training computes it with the very graph that is served, so there is no second definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import TargetEncoder

from datalab.ml.declaration import Declaration
from datalab.ml.expressions import parse_expression
from datalab.ml.graph import Array, Columns, Graph, Session

_FARTHEST = 1e30  # leaves room for weights and sums among 32-bit floats


@dataclass(frozen=True)
class Encoding:
    """A number for each level of a category; levels that training never saw get `default`."""

    levels: tuple[str, ...]
    values: tuple[float, ...]
    default: float


@dataclass(frozen=True)
class Prepared:
    """What preprocessing learnt. `flags`: indexes of numbers whose absence is a column of its own."""

    numbers: tuple[str, ...]
    medians: tuple[float, ...]
    flags: tuple[int, ...]
    encodings: Mapping[str, Encoding]
    center: tuple[float, ...] = ()
    spread: tuple[float, ...] = field(default=())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the matrix's columns."""
        return (*self.numbers, *(f"{self.numbers[index]} ausente" for index in self.flags), *self.encodings)


def prepare(declaration: Declaration, columns: Columns, label: Array) -> tuple[Prepared, Array]:
    """Learn from training rows; answers the matrix [N, width] for the estimator, too.

    Categories become the mean of the label per level, shrunk to the overall mean (Micci-Barreca 2001), and for the
    training rows themselves cross-fitted, so that no row is encoded by its own label (scikit-learn's TargetEncoder).
    """
    graph = Graph()
    raw = Session(graph.finish(_numbers(graph, declaration), None)).run(_tensors(declaration, columns, text=False))
    missing = ~np.isfinite(raw)
    known = np.where(missing, np.nan, raw)
    medians = tuple(float(np.nanmedian(part)) if not np.isnan(part).all() else 0.0 for part in known.T)
    encodings, encoded = {}, []
    for name in _categories(declaration):
        encodings[name], column = _encode(columns[name], label, declaration.seed)
        encoded.append(column)
    flags = _distinct_flags(missing)
    matrix = np.hstack([np.where(missing, medians, raw), missing[:, flags], *encoded]).astype(np.float32)
    prepared = Prepared(_number_names(declaration), medians, tuple(flags), encodings)
    if not declaration.scale:
        return prepared, _near(matrix) if _adds_up(declaration) else matrix
    center, spread = matrix.mean(axis=0), matrix.std(axis=0)
    spread[spread == 0] = 1
    scaled = Prepared(**{**vars(prepared), "center": tuple(center.tolist()), "spread": tuple(spread.tolist())})
    return scaled, _near((matrix - center) / spread)


def emit(graph: Graph, declaration: Declaration, prepared: Prepared) -> str:
    """Write the preprocessing into a graph; answers the name of the matrix."""
    raw = _numbers(graph, declaration)
    missing = graph.node("Or", graph.node("IsNaN", raw), graph.node("IsInf", raw))
    parts = [graph.node("Where", missing, graph.constant([prepared.medians]), raw)]
    if prepared.flags:
        told = graph.node("Cast", missing, to=1)
        parts.append(graph.node("Gather", told, graph.constant(prepared.flags, np.int64), axis=1))
    for name, encoding in prepared.encodings.items():
        parts.append(
            graph.node(
                "LabelEncoder",
                graph.input(name, text=True),
                domain="ai.onnx.ml",
                keys_strings=list(encoding.levels),
                values_floats=list(encoding.values),
                default_float=encoding.default,
            )
        )
    matrix = graph.node("Concat", *parts, axis=1)
    if prepared.center:
        moved = graph.node("Sub", matrix, graph.constant([prepared.center]))
        matrix = graph.node("Div", moved, graph.constant([prepared.spread]))
    if _adds_up(declaration):
        return graph.node("Clip", matrix, graph.constant(-_FARTHEST), graph.constant(_FARTHEST))
    return matrix


def _adds_up(declaration: Declaration) -> bool:
    """Whether columns are summed: two that are infinite, one for and one against, would be no number."""
    return declaration.scale or declaration.estimator == "sklearn.linear_model.LogisticRegression"


def _near(matrix: Array) -> Array:
    """What the graph does, so that sums stay finite."""
    return np.clip(matrix, -np.float32(_FARTHEST), np.float32(_FARTHEST))


def _numbers(graph: Graph, declaration: Declaration) -> str:
    names = [graph.input(part.name, text=False) for part in declaration.inputs if part.kind != "category"]
    derived = [graph.expression(parse_expression(text)) for text in declaration.derived.values()]
    return graph.node("Concat", *names, *derived, axis=1)


def _number_names(declaration: Declaration) -> tuple[str, ...]:
    return (*(part.name for part in declaration.inputs if part.kind != "category"), *declaration.derived)


def _categories(declaration: Declaration) -> Sequence[str]:
    return [part.name for part in declaration.inputs if part.kind == "category"]


def _tensors(declaration: Declaration, columns: Columns, *, text: bool) -> dict[str, Array]:
    return {
        part.name: columns[part.name].reshape(-1, 1) for part in declaration.inputs if (part.kind == "category") == text
    }


def _encode(column: Array, label: Array, seed: int) -> tuple[Encoding, Array]:
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    encoder = TargetEncoder(target_type="binary", cv=folds)
    crossed: Array = encoder.fit_transform(column.reshape(-1, 1), label)
    levels, values = encoder.categories_[0], encoder.encodings_[0]
    default = float(encoder.target_mean_)
    return Encoding(tuple(map(str, levels)), tuple(map(float, values)), default), crossed


def _distinct_flags(missing: Array) -> list[int]:
    """Columns that miss values, each pattern of absence once."""
    seen: dict[bytes, int] = {}
    for index, column in enumerate(missing.T):
        if column.any() and not column.all():
            seen.setdefault(column.tobytes(), index)
    return sorted(seen.values())
