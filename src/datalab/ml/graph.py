"""An ONNX graph in the making, and its answers. The only place that knows ONNX's own objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from datalab.ml.expressions import Term

Array = NDArray[Any]
Columns = Mapping[str, Array]

OPSETS = {"": 18, "ai.onnx.ml": 3}
_IR_VERSION = 9
ANSWER = "probability"
_PLAIN_SUM = frozenset(
    {f"class_{name}" for name in ("ids", "nodeids", "treeids", "weights")}
    | {f"nodes_{name}" for name in ("falsenodeids", "featureids", "hitrates", "missing_value_tracks_true", "modes")}
    | {f"nodes_{name}" for name in ("nodeids", "treeids", "truenodeids", "values")}
    | {"classlabels_int64s", "post_transform"}
)


class Graph:
    """Nodes, constants and inputs of a graph; each method answers the name of the tensor that it adds."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def input(self, name: str, *, text: bool) -> str:
        """An input of one column: text, or float."""
        kind = TensorProto.STRING if text else TensorProto.FLOAT
        self._inputs.append(helper.make_tensor_value_info(name, kind, ["N", 1]))
        return name

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        """A constant tensor."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype=kind), name))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One operator with one output."""
        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def expression(self, term: Term) -> str:
        """An expression over inputs of the graph."""
        if term.name:
            return term.name
        if term.number is not None:
            return self.constant([[term.number]])
        return self.node(term.op, *(self.expression(part) for part in term.parts))

    def embed(self, model: Any, matrix: str) -> list[str]:
        """All of another model of one input, fed from `matrix`; answers the names of its outputs."""
        prefix = f"inner_{len(self._nodes)}_"
        inner = compose.add_prefix(model, prefix).graph
        fed = inner.input[0].name
        for node in inner.node:
            node.input[:] = [matrix if name == fed else name for name in node.input]
        self._nodes.extend(inner.node)
        self._constants.extend(inner.initializer)
        return [output.name for output in inner.output]

    def sum_of_trees(self, model: Any, matrix: str) -> str | None:
        """P(second class) of a forest's classifier as the sum that it is, fed from `matrix`; None for other models.

        A classifier works out labels and both classes as well, which nobody reads here.
        """
        nodes = model.graph.node
        if [node.op_type for node in nodes] != ["TreeEnsembleClassifier"]:
            return None
        given = {part.name: helper.get_attribute_value(part) for part in nodes[0].attribute}
        if given.keys() != _PLAIN_SUM or given["post_transform"] != b"NONE":
            return None
        if set(given["class_ids"]) != {0} or min(given["class_weights"]) < 0:  # one weight a leaf: that of the second
            return None
        trees = {name: given[name] for name in given if name.startswith("nodes_") and name != "nodes_hitrates"}
        leaves = {f"target_{name}": given[f"class_{name}"] for name in ("nodeids", "treeids", "weights")}
        targets = {"target_ids": [0] * len(leaves["target_weights"]), "n_targets": 1, "aggregate_function": "SUM"}
        return self.node("TreeEnsembleRegressor", matrix, domain="ai.onnx.ml", **trees, **leaves, **targets)

    def finish(self, output: str, width: int | None = 1) -> bytes:
        """The model whose answer is this tensor, under the name `probability`."""
        self._nodes.append(helper.make_node("Identity", [output], [ANSWER]))
        answer = helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, ["N", width])
        graph = helper.make_graph(self._nodes, "model", self._inputs, [answer], self._constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="datalab")
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def feeds(columns: Columns, rows: slice | Array = slice(None)) -> dict[str, Array]:
    """Columns of N values as the tensors [N, 1] that a model takes."""
    return {name: column[rows].reshape(-1, 1) for name, column in columns.items()}


class Session:
    """A model ready to answer. `threads` 1 is what the server does."""

    def __init__(self, model: bytes, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs: Sequence[str] = tuple(part.name for part in self._session.get_inputs())

    def run(self, tensors: Mapping[str, Array]) -> Array:
        """The answer as it is, [N, width]."""
        answer: Array = self._session.run([ANSWER], {name: tensors[name] for name in self.inputs})[0]
        return answer

    def probabilities(self, columns: Columns) -> Array:
        """One probability per row, as doubles."""
        if not len(next(iter(columns.values()))):
            return np.zeros(0)
        return self.run(feeds(columns)).reshape(-1).astype(np.float64)
