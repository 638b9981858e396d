"""CAST as Spark's ANSI mode does it: fractions are cut off, texts are read strictly, what does not fit is an error."""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.dialect.kinds import convert
from datalab.engine.dialect.nodes import call, cast

_Type = exp.DataType.Type
_INTEGERS = {_Type.TINYINT: "TINYINT", _Type.SMALLINT: "SMALLINT", _Type.INT: "INT", _Type.BIGINT: ""}
_CONVERSIONS = {
    _Type.DOUBLE: "double",
    _Type.BOOLEAN: "boolean",
    _Type.DATE: "date",
    _Type.TIMESTAMP: "timestamp",
    _Type.TIMESTAMPTZ: "timestamp",
    _Type.TIMESTAMPLTZ: "timestamp",
    _Type.BINARY: "binary",
    _Type.VARBINARY: "binary",
}
_TEXTS = frozenset({_Type.TEXT, _Type.VARCHAR, _Type.CHAR, _Type.NCHAR, _Type.NVARCHAR})
_DECIMAL = (10, 0)


def cast_like_spark(node: exp.Cast) -> exp.Expr | None:
    """The translation of CAST and TRY_CAST; None where the type has no equal."""
    value, kind = node.this, node.to
    if isinstance(value, exp.Null):
        return _typed_null(kind)
    made = _converted(value, kind)
    return call("TRY", made) if made is not None and node.args.get("safe") else made


def _converted(value: exp.Expr, kind: exp.DataType) -> exp.Expr | None:
    if kind.this in _INTEGERS:
        whole = convert(value, "bigint")
        return cast(whole, _INTEGERS[kind.this]) if _INTEGERS[kind.this] else whole
    if kind.this in _CONVERSIONS:
        return convert(value, _CONVERSIONS[kind.this])
    if kind.this == _Type.FLOAT:
        return cast(convert(value, "double"), "FLOAT")
    if kind.this in _TEXTS:
        return convert(value, "text")
    return _decimal(value, kind) if kind.this == _Type.DECIMAL else None


def _decimal(value: exp.Expr, kind: exp.DataType) -> exp.Expr:
    """Spark rounds what a double prints as, DuckDB its binary value: where that could differ the text is read."""
    digits = [int(parameter.name) for parameter in kind.expressions] or list(_DECIMAL)
    precision, scale = digits[0], digits[1] if len(digits) > 1 else 0
    spelt = f"DECIMAL({precision}, {scale})"
    scaled = exp.Mul(this=cast_if_possible(value.copy(), "DOUBLE"), expression=exp.Literal.number(f"1e{scale}"))
    real = call("typeof", value.copy())
    as_text = cast(cast(value.copy(), "VARCHAR"), spelt)
    of_text = cast(call("spark_decimal_text", cast_if_possible(value.copy(), "VARCHAR")), spelt)
    is_real = real.isin("DOUBLE", "FLOAT")
    near = exp.and_(is_real, call("spark_near_half", scaled))
    is_text = exp.EQ(this=real.copy(), expression=exp.Literal.string("VARCHAR"))
    return exp.Case().when(near, as_text).when(is_text, of_text).else_(cast(value, spelt))


def cast_if_possible(value: exp.Expr, kind: str) -> exp.Expr:
    """DuckDB's own TRY_CAST: it binds for every type, so it may stand in a branch that is not for this one."""
    return exp.TryCast(this=value, to=exp.DataType.build(kind, dialect="duckdb"))


def rounded(value: exp.Expr, digits: int) -> exp.Expr:
    """ROUND half up on what a double prints as. Whole numbers and decimals are exact as they are."""
    scale = exp.Literal.number(digits)
    if digits < 0:
        return call("spark_round_whole", value, scale)
    if digits == 0:
        return call("round", value)
    scaled = exp.Mul(this=cast_if_possible(value.copy(), "DOUBLE"), expression=exp.Literal.number(f"1e{digits}"))
    is_real = call("typeof", value.copy()).isin("DOUBLE", "FLOAT")
    text = cast_if_possible(cast_if_possible(value.copy(), "VARCHAR"), f"DECIMAL(38, {digits})")
    near = exp.and_(is_real, call("spark_near_half", scaled))
    plain = call("round", value, scale)
    return exp.Case().when(near, exp.func("coalesce", text, plain.copy())).else_(plain)


def _typed_null(kind: exp.DataType) -> exp.Expr | None:
    for inner in kind.find_all(exp.DataType):
        if inner.this in (_Type.TIMESTAMP, _Type.TIMESTAMPLTZ):
            inner.set("this", _Type.TIMESTAMPTZ)
        if inner.this == _Type.DECIMAL and not inner.expressions:
            inner.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(number)) for number in _DECIMAL])
    return exp.Cast(this=exp.Null(), to=kind)
