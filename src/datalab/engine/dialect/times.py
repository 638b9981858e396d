"""Dates and moments: arithmetic, parts, patterns."""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.dialect.intervals import units_of
from datalab.engine.dialect.kinds import convert, kind_of
from datalab.engine.dialect.nodes import Rewrite, call, string, text_of
from datalab.engine.dialect.patterns import pattern_of

_DAY_OR_LONGER = {"DAY": "days", "WEEK": "weeks", "MONTH": "months", "YEAR": "years"}
_SHORTER = {"HOUR": "hours", "MINUTE": "minutes", "SECOND": "seconds"}
_TRUNCATIONS = {
    **dict.fromkeys(("YEAR", "YYYY", "YY"), "year"),
    **dict.fromkeys(("QUARTER",), "quarter"),
    **dict.fromkeys(("MONTH", "MON", "MM"), "month"),
    **dict.fromkeys(("WEEK",), "week"),
}
_MOMENT_TRUNCATIONS = {
    **_TRUNCATIONS,
    **dict.fromkeys(("DAY", "DD"), "day"),
    **{unit: unit.lower() for unit in ("HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND")},
}
_DATE_FIELDS = {
    "YEAR": "year", "QUARTER": "quarter", "MONTH": "month", "WEEK": "week", "DAY": "day", "DOY": "dayofyear",
    "DAYOFYEAR": "dayofyear", "DOW": "dayofweek", "DAYOFWEEK": "dayofweek",
}  # fmt: skip
_MOMENT_FIELDS = {"HOUR": "hour", "MINUTE": "minute"}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_UNTYPED = (exp.AggFunc, exp.Window, exp.Subquery)
_UNTYPED_CALLS = frozenset({"any_value", "quantile_disc", "spark_max_by", "spark_min_by", "spark_mode"})
_NO_DATES = (exp.Literal, exp.Interval, exp.Binary, exp.Unary, exp.Count, exp.Sum, exp.Avg, exp.Null, exp.Round)
_MOMENT = "__moment"
_DATE_WRAPPERS = ("spark_to_date", "spark_read_date", "spark_moment_date")
_DEFAULT_PATTERN = "%Y-%mstrict-%dstrict %Hstrict:%Mstrict:%Sstrict"


def _shift(node: exp.Add | exp.Sub) -> exp.Expr | None:
    """Dates stay dates when whole days are added; hours make them moments."""
    left, right = node.this, node.expression
    if units_of(left) and isinstance(node, exp.Add):
        left, right = right, left
    units = units_of(right)
    if not units:
        return _difference(node) if isinstance(node, exp.Sub) else node
    if units_of(left):
        units_of(node)
        return node
    step = exp.Neg(this=exp.paren(right)) if isinstance(node, exp.Sub) else exp.paren(right)
    if units <= _DAY_OR_LONGER.keys():
        return _shifted_untyped(left, step) if _is_untyped(left) else call("spark_shift", left, step)
    return exp.Add(this=convert(left, "timestamp"), expression=step)


def _is_untyped(node: exp.Expr) -> bool:
    """Whether DuckDB cannot tell a macro, while it chooses one of its forms, what type an expression is of."""
    calls = (each.name for each in node.find_all(exp.Anonymous))
    return node.find(*_UNTYPED) is not None or any(name in _UNTYPED_CALLS for name in calls)


def _shifted_untyped(moment: exp.Expr, step: exp.Expr) -> exp.Expr:
    """The element of an array does have a type."""
    shifted = call("spark_shift", exp.to_identifier(_MOMENT), step)
    function = exp.Lambda(this=shifted, expressions=[exp.to_identifier(_MOMENT)])
    return call("list_extract", call("list_transform", exp.Array(expressions=[moment]), function), exp.convert(1))


def _difference(node: exp.Sub) -> exp.Expr | None:
    """Of two dates it is an interval in Spark, a number in DuckDB: refused, where they are known when it is bound.

    The branch that is never taken costs nothing in the run; for dates it does not bind.
    """
    sides = (node.this.unnest(), node.expression.unnest())
    if all(kind_of(side) == "date" for side in sides):
        return None
    if not all(map(_may_be_date, sides)):
        return node
    if not _knows_types(node):
        return call("spark_minus", node.this, node.expression) if all(map(_is_named, sides)) else node
    never = call("spark_no_dates", node.this.copy(), node.expression.copy())
    return exp.paren(exp.Case().when(exp.false(), never).else_(exp.paren(node.copy())))


def _knows_types(node: exp.Expr) -> bool:
    """Whether DuckDB can tell a macro the types of columns there: not beside HAVING, in a lambda or a correlated query.

    What cannot be told when it is bound is told in the run.
    """
    while node.parent is not None:
        node, below = node.parent, node
        if isinstance(node, exp.Lambda | exp.Lateral | exp.Exists | exp.In) or node.args.get("having"):
            return False
        if isinstance(below, exp.Query) and not isinstance(node, exp.Query | exp.CTE | exp.Paren):
            return False
        if isinstance(node, exp.Subquery) and not isinstance(node.parent, exp.From | exp.Join):
            return False
    return True


def _is_named(side: exp.Expr) -> bool:
    """A column, a field, or the least or greatest of one: cheap to write twice."""
    return isinstance(side.this if isinstance(side, exp.Min | exp.Max) else side, exp.Column | exp.Dot)


def _may_be_date(side: exp.Expr) -> bool:
    """Whether nothing shows that it is none, and it is short enough to be written twice."""
    known = kind_of(side)
    if known is not None or isinstance(side, _NO_DATES):
        return known == "date"
    return side.find(exp.Sub, exp.Query) is None


def _date_add(node: exp.TsOrDsAdd) -> exp.Expr | None:
    days = convert(node.this, "date"), node.expression
    return call("spark_date_add", *days) if _unit(node) == "DAY" else None


def _moment_add(node: exp.TimestampAdd) -> exp.Expr | None:
    unit = {**_DAY_OR_LONGER, **_SHORTER}.get(_unit(node))
    if unit is None:
        return None
    return exp.paren(exp.Add(this=convert(node.this, "timestamp"), expression=call(f"to_{unit}", node.expression)))


def _date_diff(node: exp.DateDiff) -> exp.Expr | None:
    """Without a unit: days between dates. With one, whole units between moments; sqlglot has put dates around those."""
    if node.args.get("unit") is None:
        return call("spark_datediff", convert(node.this, "date"), convert(node.expression, "date"))
    later, earlier = (_bare_date(side) for side in (node.this, node.expression))
    return _units_between(_unit(node), earlier, later)


def _bare_date(side: exp.Expr) -> exp.Expr:
    is_wrapped = isinstance(side, exp.Anonymous) and side.name in _DATE_WRAPPERS
    return side.expressions[0] if is_wrapped else side


def _moment_diff(node: exp.TimestampDiff) -> exp.Expr | None:
    return _units_between(_unit(node), node.expression, node.this)


def _units_between(unit: str, earlier: exp.Expr, later: exp.Expr) -> exp.Expr | None:
    moments = convert(earlier, "timestamp"), convert(later, "timestamp")
    if unit in _MONTHS:
        return exp.paren(exp.IntDiv(this=call("spark_months_since", *moments), expression=exp.convert(_MONTHS[unit])))
    known = unit in _DAY_OR_LONGER or unit in _SHORTER
    return call("spark_units_between", string(unit.lower()), *moments) if known else None


def _months_between(node: exp.MonthsBetween) -> exp.Expr | None:
    roundoff = node.args.get("roundoff")
    if roundoff is not None and roundoff != exp.true():
        return None
    return call("spark_months_between", convert(node.this, "timestamp"), convert(node.expression, "timestamp"))


def _truncate(node: exp.TimestampTrunc) -> exp.Expr | None:
    unit = _MOMENT_TRUNCATIONS.get(_unit(node))
    return call("spark_truncate", string(unit), convert(node.this, "timestamp")) if unit else None


def _truncate_date(node: exp.DateTrunc) -> exp.Expr | None:
    unit = _TRUNCATIONS.get(_unit(node))
    return call("spark_truncate_date", string(unit), convert(node.this, "date")) if unit else None


def _extract(node: exp.Extract) -> exp.Expr | None:
    return field_of(node.name, node.expression)


def field_of(name: str, value: exp.Expr) -> exp.Expr | None:
    """EXTRACT(name FROM value)."""
    if field := _DATE_FIELDS.get(name.upper()):
        return call(f"spark_{field}", convert(value, "date"))
    field = _MOMENT_FIELDS.get(name.upper())
    return call(f"spark_{field}", convert(value, "timestamp")) if field else None


def _to_date(node: exp.TsOrDsToDate) -> exp.Expr | None:
    if node.args.get("format") is None:
        return convert(node.this, "date")
    parsed = _parsed(node)
    return convert(parsed, "date") if parsed else None


def _parsed(node: exp.Expr) -> exp.Expr | None:
    noted = text_of(node.args.get("format"))
    pattern = pattern_of(noted) if noted else None
    return call("spark_parse", node.this, *map(string, pattern)) if pattern else None


def _formatted(node: exp.Expr, moment: exp.Expr) -> exp.Expr | None:
    noted = text_of(node.args.get("format"))
    pattern = pattern_of(noted) if noted else None
    return call("spark_format", moment, string(pattern[0])) if pattern else None


def _date_format(node: exp.TimeToStr) -> exp.Expr | None:
    return _formatted(node, convert(node.this, "timestamp"))


def _from_unixtime(node: exp.UnixToStr) -> exp.Expr | None:
    return _formatted(node, call("spark_timestamp_seconds", node.this))


def _unix_timestamp(node: exp.StrToUnix) -> exp.Expr | None:
    default = text_of(node.args.get("format")) in (None, _DEFAULT_PATTERN)
    moment = convert(node.this, "timestamp") if default else _parsed(node)
    return call("spark_unix_timestamp", moment) if moment else None


def _unit(node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return unit.name.upper() if unit is not None else "DAY"


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Add: _shift,
    exp.Sub: _shift,
    exp.TsOrDsAdd: _date_add,
    exp.TimestampAdd: _moment_add,
    exp.DateDiff: _date_diff,
    exp.TimestampDiff: _moment_diff,
    exp.MonthsBetween: _months_between,
    exp.TimestampTrunc: _truncate,
    exp.DateTrunc: _truncate_date,
    exp.Extract: _extract,
    exp.TsOrDsToDate: _to_date,
    exp.StrToTime: _parsed,
    exp.TimeToStr: _date_format,
    exp.UnixToStr: _from_unixtime,
    exp.StrToUnix: _unix_timestamp,
}
