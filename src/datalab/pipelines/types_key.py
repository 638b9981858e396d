"""What the types of a graph depend on, as one hash: where it is equal, checking again would answer the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from datalab.names import TableName

if TYPE_CHECKING:
    import pyarrow as pa

    from datalab.pipelines.graph import Graph


def types_key(graph: Graph, schemas: Mapping[TableName, pa.Schema], code: Mapping[str, object]) -> str:
    """64 hexadecimal digits over the flows as they are parsed, the columns of what they read and `code`, which checks.

    Unlike the code hash it leaves nothing out: quotes, places in the files, partitions, the order of flows.
    """
    columns = {str(name): schema.serialize().to_pybytes().hex() for name, schema in schemas.items()}
    flows = [[_exact(node.flow), _exact(node.dataset), _exact(node.inputs)] for node in graph.flows]
    text = json.dumps([dict(code), columns, flows], separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _exact(value: Any) -> Any:
    if isinstance(value, exp.Expr):
        return [type(value).__name__, {key: _exact(part) for key, part in value.args.items()}]
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _exact(item) for key, item in value.items()}
    if is_dataclass(value):
        return {key: _exact(item) for key, item in vars(value).items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)
