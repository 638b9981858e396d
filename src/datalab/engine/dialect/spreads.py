"""Spreads as the covariance of a value with itself, which DuckDB computes by the same steps, to the same bits.

Where NaN or infinity is among the values, DuckDB's own spreads answer 0 for one value and fail for several; Spark's
are NaN.
"""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.dialect.functions import UNREPEATABLE

_POPULATION = (exp.VariancePop, exp.StddevPop)
_ROOTS = (exp.StddevPop, exp.StddevSamp, exp.Stddev)


def mend_spreads(root: exp.Expr) -> None:
    """`variance`, `stddev` and their kin, in a Spark tree that stays one; a value is named twice then."""
    for named in [each for each in root.find_all(exp.Anonymous) if each.name.lower() == "std"]:
        if len(named.expressions) == 1:
            named.replace(exp.Stddev(this=named.expressions[0]))
    for node in list(root.find_all(*_POPULATION, exp.Variance, exp.StddevSamp, exp.Stddev)):
        value = node.this
        if isinstance(value, exp.Distinct) or value.find(*UNREPEATABLE):
            continue
        kind = exp.CovarPop if isinstance(node, _POPULATION) else exp.CovarSamp
        variance, whole = kind(this=value.copy(), expression=value.copy()), _whole(node)
        node.replace(variance)
        found = variance if whole is node else whole
        if isinstance(node, _ROOTS):
            found.replace(exp.Sqrt(this=found.copy()))


def _whole(node: exp.Expr) -> exp.Expr:
    """An aggregate with the FILTER and the OVER that follow it."""
    while isinstance(node.parent, exp.Filter | exp.Window) and node.parent.this is node:
        node = node.parent
    return node
