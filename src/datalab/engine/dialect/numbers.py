"""Numbers: division, rounding, casts."""

from __future__ import annotations

import re

from sqlglot import exp

from datalab.engine.dialect.casting import cast_like_spark, rounded
from datalab.engine.dialect.nodes import Rewrite, call, cast

_LARGEST, _MOST_DIGITS = 2**63 - 1, 38
_WRITTEN = re.compile(r"\d+\.?\d*|\.\d+")


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


def _literal(node: exp.Literal) -> exp.Expr | None:
    """A whole number beyond BIGINT is a DECIMAL; one of more digits than that has is refused, as by Spark."""
    if node.is_string or not _WRITTEN.fullmatch(node.name):
        return node
    digits = len(node.name.replace(".", "").lstrip("0"))
    if digits > _MOST_DIGITS:
        return None
    if not node.is_int or int(node.name) <= _LARGEST or _is_lowest(node):
        return node
    return cast(node.copy(), f"DECIMAL({digits}, 0)")


def _negative(node: exp.Neg) -> exp.Expr:
    return cast(node.copy(), "BIGINT") if _is_lowest(node.this) else node


def _is_lowest(node: exp.Expr) -> bool:
    """Whether a literal is the lowest BIGINT without its sign."""
    return isinstance(node, exp.Literal) and isinstance(node.parent, exp.Neg) and node.name == str(_LARGEST + 1)


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Literal: _literal,
    exp.Neg: _negative,
    exp.Div: _divide,
    exp.Round: _round,
    exp.Log: _log,
    exp.Floor: _whole,
    exp.Ceil: _whole,
    exp.Rand: _rand,
    exp.Cast: _cast,
    exp.TryCast: _cast,
}
