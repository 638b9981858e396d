"""The hash of a flow's code: equal for equal meaning as far as parsing shows it, whatever the layout of the text."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlglot import exp

from datalab.pipelines.model import Dataset, Flow
from datalab.pipelines.query import is_stream

_VERSION = 1


def code_hash(flow: Flow, dataset: Dataset) -> str:
    """16 hexadecimal digits over everything that decides which rows the flow writes.

    That is the query with its views written in, the keys and clauses of AUTO CDC, constraints, declared columns.
    Comments, layout, the case of keywords and how the table is stored (partitions, format, properties) are left out.
    """
    code = [
        _VERSION,
        flow.kind,
        str(flow.target),
        _shape(flow.query),
        _plain(vars(flow.cdc)) if flow.cdc else None,
        [[rule.name, rule.action, _shape(rule.condition)] for rule in dataset.constraints],
        [[column.name, _type(column.type), column.nullable] for column in dataset.columns],
    ]
    text = json.dumps(code, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: _shape(value) for key, value in fields.items()}


def _type(text: str) -> Any:
    return _shape(exp.DataType.build(text, dialect="spark")) if text else ""


def _shape(value: Any) -> Any:
    if isinstance(value, exp.Identifier):
        return ["name", value.this]
    if isinstance(value, exp.Var):
        return ["var", value.name.lower()]
    if isinstance(value, exp.Expr):
        stream = isinstance(value, exp.Table) and is_stream(value)
        return [value.key, stream, {key: _shape(part) for key, part in sorted(value.args.items()) if _says(part)}]
    if isinstance(value, list | tuple):
        return [_shape(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _says(part: Any) -> bool:
    return part is not None and part is not False and part != []
