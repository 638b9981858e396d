"""Numbers: division, rounding, casts."""

from __future__ import annotations

import math
import re

from sqlglot import exp

from datalab.engine.dialect.casting import cast_like_spark, rounded
from datalab.engine.dialect.nodes import Refused, Rewrite, call, cast

_LARGEST, _MOST_DIGITS = 2**63 - 1, 38
_WRITTEN = re.compile(r"\d+\.?\d*|\.\d+")
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_Type = exp.DataType.Type
_BITS = {_Type.TINYINT: 7, _Type.SMALLINT: 15, _Type.INT: 31, _Type.BIGINT: 63}
_LARGEST_FLOAT = 2.0**128 - 2.0**104


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
    """A number that is written out, and that the type cannot hold, fails in each run: it is told now."""
    number, kind = _number(node.this), node.to.this
    if number is None or node.args.get("safe"):
        return cast_like_spark(node)
    if kind == _Type.FLOAT and abs(number) > _LARGEST_FLOAT:
        raise _beyond(node.this, "FLOAT")
    limit = 2 ** _BITS[kind] if kind in _BITS and isinstance(number, int) else None
    if limit is None or -limit <= number < limit:
        return cast_like_spark(node)
    if number == limit and isinstance(node.parent, exp.Neg):
        return cast(exp.Literal.number(limit), kind.name)  # the lowest number of the type, once its sign is there
    raise _beyond(node.this, kind.name)


def _number(node: exp.Expr) -> int | float | None:
    """The value of a number that is written out, as one or as a text; None for anything else."""
    node = node.unnest()
    if isinstance(node, exp.Neg):
        number = _number(node.this)
        return None if number is None else -number
    if isinstance(node, exp.Cast) and node.to.this in (_Type.DECIMAL, _Type.BIGINT):
        return _number(node.this)
    if not isinstance(node, exp.Literal):
        return None
    if _WHOLE.fullmatch(node.name):
        return int(node.name)
    return None if node.is_string else float(node.name)


def _beyond(node: exp.Expr, kind: str) -> Refused:
    written = next(node.find_all(exp.Literal)).name
    return Refused(f"{written} is beyond {kind}", "write a number that it can hold, or another type")


def _literal(node: exp.Literal) -> exp.Expr | None:
    """A whole number beyond BIGINT is a DECIMAL; one of more digits than that has is refused, as by Spark."""
    if node.is_string:
        return node
    if not _WRITTEN.fullmatch(node.name):
        if math.isinf(float(node.name)):
            raise _beyond(node, "DOUBLE")
        return node
    digits = len(node.name.replace(".", "").lstrip("0"))
    if digits > _MOST_DIGITS:
        return None
    if not node.is_int or int(node.name) <= _LARGEST or _is_lowest(node):
        return node
    return cast(node.copy(), f"DECIMAL({digits}, 0)")


def _negative(node: exp.Neg) -> exp.Expr:
    typed = node.this
    if isinstance(typed, exp.Cast) and isinstance(typed.this, exp.Literal) and typed.to.this in _BITS:
        return exp.Cast(this=exp.Neg(this=typed.this.copy()), to=typed.to.copy())
    return cast(node.copy(), "BIGINT") if _is_lowest(typed) else node


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
