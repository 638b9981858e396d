"""What is known of an expression's type from its form, and the conversions that need no look at the type."""

from __future__ import annotations

from sqlglot import exp

_Type = exp.DataType.Type

_FUNCTIONS = {
    "date": "date_add add_months last_day truncate_date make_date read_date moment_date to_date",
    "timestamp": "truncate timestamp_seconds timestamp_millis timestamp_micros parse from_utc to_utc read_timestamp "
    "date_moment to_timestamp",
    "text": "upper lower json_text text format substring left right repeat initcap join",
    "bigint": "to_bigint read_bigint floor ceil div unix_seconds unix_timestamp unix_millis unix_micros",
    "double": "to_double read_double divide sqrt ln log log10 sign months_between",
    "boolean": "to_boolean read_boolean isnan",
}
_BY_FUNCTION = {f"spark_{name}": kind for kind, names in _FUNCTIONS.items() for name in names.split()} | dict.fromkeys(
    ("regexp_extract", "regexp_replace", "lpad", "rpad", "replace", "concat_ws", "sha256", "string_agg"), "text"
)
_BY_CLASS: dict[type[exp.Expr], str] = {
    exp.Trim: "text",
    exp.DPipe: "text",
    exp.Translate: "text",
    exp.MD5: "text",
    exp.Boolean: "boolean",
    exp.Count: "bigint",
}
_BY_TYPE = {
    _Type.DATE: "date",
    _Type.TIMESTAMPTZ: "timestamp",
    _Type.TEXT: "text",
    _Type.VARCHAR: "text",
    _Type.BIGINT: "bigint",
    _Type.INT: "bigint",
    _Type.DOUBLE: "double",
}
# From and to: the function that converts without asking for the type.
_DIRECT = {
    ("text", "date"): "spark_read_date",
    ("text", "timestamp"): "spark_read_timestamp",
    ("text", "bigint"): "spark_read_bigint",
    ("text", "double"): "spark_read_double",
    ("text", "boolean"): "spark_read_boolean",
    ("text", "binary"): "encode",
    ("double", "text"): "spark_double_text",
    ("timestamp", "date"): "spark_moment_date",
    ("date", "timestamp"): "spark_date_moment",
}


def kind_of(node: exp.Expr) -> str | None:
    """The kind of a translated expression's value: date, timestamp, text, bigint, double, boolean; None if unknown."""
    node = node.unnest()
    if isinstance(node, exp.Literal):
        return "text" if node.is_string else ("bigint" if node.is_int else None)
    if isinstance(node, exp.Anonymous):
        return _BY_FUNCTION.get(node.name)
    if isinstance(node, exp.Cast):
        return _BY_TYPE.get(node.to.this)
    return _BY_CLASS.get(type(node))


def convert(value: exp.Expr, kind: str) -> exp.Expr:
    """A value where Spark wants a date, timestamp, double, … and casts by itself."""
    known = kind_of(value)
    if known == kind:
        return value
    if kind == "double" and (known == "bigint" or _is_number(value)):
        return exp.Cast(this=value, to=exp.DataType(this=_Type.DOUBLE))
    function = _DIRECT.get((known or "", kind), "spark_text" if kind == "text" else f"spark_to_{kind}")
    return exp.Anonymous(this=function, expressions=[value])


def _is_number(node: exp.Expr) -> bool:
    node = node.unnest()
    literal = node.this if isinstance(node, exp.Neg) else node
    return isinstance(literal, exp.Literal) and not literal.is_string
