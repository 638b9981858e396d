"""FLOAT beside numbers of other types: in Spark both become DOUBLE, in DuckDB both become FLOAT."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from sqlglot import exp

_TWO_SIDED = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Nullif,
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ,
)  # fmt: skip
_STAYING = (exp.Paren, exp.Neg, exp.Abs, exp.Min, exp.Max, exp.First, exp.Last, exp.AnyValue)


def widen_reals(tree: exp.Expr, schemas: Iterable[pa.Schema]) -> exp.Expr:
    """The query with columns of FLOAT cast to DOUBLE where another operand is no FLOAT; itself where none is."""
    reals, others = _names(schemas)
    known = reals - others - {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    if not known:
        return tree
    made = tree.copy()
    for node in list(made.find_all(*_TWO_SIDED, exp.In, exp.Between)):
        operands = _operands(node)
        if not all(_is_real(operand, known) for operand in operands):
            for operand in operands:
                if _is_real(operand, known) and not isinstance(operand, exp.Cast):
                    operand.replace(exp.cast(operand.copy(), "DOUBLE"))
    return made


def _operands(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.In):
        return [node.this, *node.expressions]
    if isinstance(node, exp.Between):
        return [node.this, node.args["low"], node.args["high"]]
    return [node.this, node.expression]


def _is_real(node: exp.Expr, known: frozenset[str]) -> bool:
    while isinstance(node, _STAYING):
        node = node.this
    if isinstance(node, exp.Cast):
        return bool(node.to.this == exp.DataType.Type.FLOAT)
    return isinstance(node, exp.Column | exp.Dot) and node.name.lower() in known


def _names(schemas: Iterable[pa.Schema]) -> tuple[frozenset[str], frozenset[str]]:
    """Names of columns and fields that are FLOAT, and those that are something else."""
    reals: set[str] = set()
    others: set[str] = set()
    waiting = [field for schema in schemas for field in schema]
    while waiting:
        field = waiting.pop()
        (reals if field.type == pa.float32() else others).add(field.name.lower())
        if pa.types.is_struct(field.type):
            waiting += list(field.type)
    return frozenset(reals), frozenset(others)
