"""The estimators that a model may name, made with their parameters, and as nodes of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from datalab.errors import InvalidModel, MissingExtra, NotSupported
from datalab.ml.declaration import Declaration
from datalab.ml.graph import OPSETS, Array, Graph
from datalab.plugins import load

# Import path: the package that brings it beyond the extra `ml`. Nothing else is ever imported by a model's file.
ALLOWED = {
    "sklearn.ensemble.RandomForestClassifier": "",
    "sklearn.ensemble.ExtraTreesClassifier": "",
    "sklearn.ensemble.GradientBoostingClassifier": "",
    "sklearn.linear_model.LogisticRegression": "",
    "lightgbm.LGBMClassifier": "lightgbm",
    "xgboost.XGBClassifier": "xgboost",
}
_QUIET = {"lightgbm.LGBMClassifier": {"verbosity": -1}, "xgboost.XGBClassifier": {"verbosity": 0}}


def make(declaration: Declaration) -> Any:
    """The estimator, not yet fitted, seeded by the model's seed. InvalidModel, MissingExtra."""
    path = declaration.estimator
    if path not in ALLOWED:
        raise InvalidModel(f"{declaration.file}: estimator {path} is not allowed", f"allowed: {', '.join(ALLOWED)}")
    module, _, name = path.rpartition(".")
    try:
        kind = load(f"{module}:{name}")
    except ModuleNotFoundError as error:
        if not ALLOWED[path]:
            raise MissingExtra(f"estimator {path}", "ml") from error
        raise InvalidModel(f"{declaration.file}: {path} is not installed", _install(ALLOWED[path])) from error
    known = kind().get_params()
    own = {"random_state": declaration.seed} | ({"n_jobs": -1} if "n_estimators" in known and "n_jobs" in known else {})
    for unknown in sorted(set(declaration.params) - set(known)):
        raise InvalidModel(f"{declaration.file}: params.{unknown} is not known to {name}", f"known: {', '.join(known)}")
    return kind(**{**own, **_QUIET.get(path, {}), **declaration.params})


def fit(declaration: Declaration, matrix: Array, label: Array) -> Any:
    """The estimator fitted to a matrix [N, width] and a boolean label [N]. InvalidModel for parameters out of range."""
    estimator = make(declaration)
    try:
        return estimator.fit(matrix, label.astype(np.int64))
    except (TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InvalidModel(
            f"{declaration.file}: {declaration.estimator} cannot be fitted: {first}", "params"
        ) from error


def probabilities(estimator: Any, matrix: Array) -> Array:
    """Raw P(label) per row [N], as the library itself answers."""
    answer: Array = np.asarray(estimator.predict_proba(matrix)[:, 1], dtype=np.float64)
    return answer


def emit(graph: Graph, estimator: Any, matrix: str, width: int) -> str:
    """Write a fitted estimator into a graph; answers the name of its raw probability [N, 1]."""
    kind = type(estimator).__module__.partition(".")[0]
    converted = _CONVERTERS.get(kind, _from_sklearn)(estimator, width)
    summed = graph.sum_of_trees(converted, matrix)
    if summed is not None:
        return summed
    outputs = graph.embed(converted, matrix)
    return graph.node("Gather", outputs[1], graph.constant([1], np.int64), axis=1)


def _from_sklearn(estimator: Any, width: int) -> Any:
    sample = np.zeros((1, width), dtype=np.float32)
    return load("skl2onnx:to_onnx")(
        estimator, sample, options={id(estimator): {"zipmap": False}}, target_opset=dict(OPSETS)
    )


def _install(name: str) -> str:
    return f"pip install {name} onnxmltools"


def _from_lightgbm(estimator: Any, width: int) -> Any:
    return _from_onnxmltools("lightgbm", estimator, width, zipmap=False)


def _from_xgboost(estimator: Any, width: int) -> Any:
    return _from_onnxmltools("xgboost", estimator, width)


def _from_onnxmltools(name: str, estimator: Any, width: int, **options: Any) -> Any:
    try:
        convert = load(f"onnxmltools:convert_{name}")
        kind = load("onnxmltools.convert.common.data_types:FloatTensorType")
    except ModuleNotFoundError as error:
        raise NotSupported("this installation", f"{name} as ONNX", _install(name)) from error
    return convert(estimator, initial_types=[("input", kind([None, width]))], target_opset=15, **options)


_CONVERTERS = {"lightgbm": _from_lightgbm, "xgboost": _from_xgboost}
