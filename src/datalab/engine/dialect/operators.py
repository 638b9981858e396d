"""Operators side by side without brackets: Spark, sqlglot and DuckDB do not bind them in the same order."""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.dialect.nodes import Rewrite

_BITWISE = {exp.BitwiseOr: 1, exp.BitwiseXor: 2, exp.BitwiseAnd: 3}
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ)


def _bitwise(node: exp.Binary) -> exp.Expr | None:
    """Spark binds & before ^ before |, sqlglot from left to right: refused where that differs."""
    binds = _BITWISE[type(node)]
    return None if _BITWISE.get(type(node.this), binds) < binds else node


def _bitwise_not(node: exp.BitwiseNot) -> exp.Expr:
    """Without brackets DuckDB reads ~1 + 2 as ~(1 + 2)."""
    return exp.paren(exp.BitwiseNot(this=exp.paren(node.this, copy=False)), copy=False)


def _comparison(node: exp.Binary) -> exp.Expr | None:
    """A = b = c goes from left to right in Spark; DuckDB does not read it."""
    if isinstance(node.expression, _COMPARISONS):
        return None
    if isinstance(node.this, _COMPARISONS):
        node.set("this", exp.paren(node.this.copy()))
    return node


def is_bound_otherwise(pipes: exp.DPipe) -> bool:
    """Whether `||` stands beside what Spark binds as closely or less: a || b + c is (a || b) + c there."""
    return isinstance(pipes.expression, exp.Add | exp.Sub) or type(pipes.this) in _BITWISE


REWRITES: dict[type[exp.Expr], Rewrite] = {
    **dict.fromkeys(_BITWISE, _bitwise),
    **dict.fromkeys(_COMPARISONS, _comparison),
    exp.BitwiseNot: _bitwise_not,
}
