"""Numbers: division, rounding, casts."""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.dialect.casting import cast_like_spark, rounded
from datalab.engine.dialect.nodes import Rewrite, call


def _divide(node: exp.Div) -> exp.Expr:
    """A divisor that cannot be 0 needs no check."""
    divisor = node.expression.unnest()
    never_zero = (isinstance(divisor, exp.Literal) and float(divisor.this) != 0) or (
        isinstance(divisor, exp.Nullif) and divisor.expression.name == "0"
    )
    if never_zero:
        return exp.Div(this=node.this, expression=node.expression, typed=False, safe=False)
    return call("spark_divide", node.this, node.expression)


def _round(node: exp.Round) -> exp.Expr | None:
    digits = node.args.get("decimals")
    number = digits.this if isinstance(digits, exp.Neg) else digits
    if number is not None and not (isinstance(number, exp.Literal) and number.is_int):
        return None
    size = int(number.this) if number is not None else 0
    return rounded(node.this, -size if isinstance(digits, exp.Neg) else size) if size <= 15 else None


def _log(node: exp.Log) -> exp.Expr:
    if node.this.name == "10":
        return call("spark_log10", node.expression)
    return call("spark_log", node.this, node.expression)


def _whole(node: exp.Floor | exp.Ceil) -> exp.Expr | None:
    return None if node.args.get("decimals") else call(f"spark_{node.key}", node.this)


def _rand(node: exp.Rand) -> exp.Expr | None:
    """A seed gives other numbers in every engine."""
    return None if node.this is not None else node


def _cast(node: exp.Cast) -> exp.Expr | None:
    return cast_like_spark(node)


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Div: _divide,
    exp.Round: _round,
    exp.Log: _log,
    exp.Floor: _whole,
    exp.Ceil: _whole,
    exp.Rand: _rand,
    exp.Cast: _cast,
    exp.TryCast: _cast,
}
