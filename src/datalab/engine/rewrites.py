"""Translations that look at a node's arguments: each answers DuckDB's node, or None where there is no equal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from datalab.engine.casting import call, cast_like_spark, rounded
from datalab.engine.kinds import convert
from datalab.engine.patterns import pattern_of

Rewrite = Callable[[Any], exp.Expr | None]

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
_DATE_WRAPPERS = ("spark_to_date", "spark_read_date", "spark_moment_date")
_SHA256 = ("0", "256")


def _text(node: exp.Expr | None) -> str | None:
    """The value of a literal text."""
    return node.this if isinstance(node, exp.Literal) and node.is_string else None


def _unit(node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return unit.name.upper() if unit is not None else "DAY"


def _string(text: str) -> exp.Literal:
    return exp.Literal.string(text)


def _shift(node: exp.Add | exp.Sub) -> exp.Expr | None:
    """Dates stay dates when whole days are added; hours make them moments.

    DuckDB cannot tell a macro which of the two an aggregate is: date_add, add_months and dateadd do that.
    """
    left, right = node.this, node.expression
    if isinstance(left, exp.Interval) and isinstance(node, exp.Add):
        left, right = right, left
    if not isinstance(right, exp.Interval):
        return node
    step = exp.Neg(this=exp.paren(right)) if isinstance(node, exp.Sub) else right
    if _unit(right) in _DAY_OR_LONGER and right.args.get("unit"):
        return None if left.find(*_UNTYPED) else call("spark_shift", left, step)
    return exp.Add(this=convert(left, "timestamp"), expression=exp.paren(step))


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


def _concat(node: exp.Concat) -> exp.Expr:
    parts = [convert(part, "text") for part in node.expressions]
    joined = parts[0]
    for part in parts[1:]:
        joined = exp.DPipe(this=joined, expression=part)
    return exp.paren(joined)


def _pipes(node: exp.DPipe) -> exp.Expr:
    return _concat(exp.Concat(expressions=[node.this, node.expression]))


def _concat_ws(node: exp.ConcatWs) -> exp.Expr:
    parts = [convert(part, "text") for part in node.expressions]
    return call("concat_ws", *parts)


def _pad(node: exp.Pad) -> exp.Expr:
    fill = node.args.get("fill_pattern") or _string(" ")
    return call("lpad" if node.args.get("is_left") else "rpad", node.this, node.expression, fill)


def _like(node: exp.Like | exp.ILike) -> exp.Expr | None:
    """Spark's LIKE has the backslash as escape; DuckDB's has none unless told."""
    pattern = _text(node.expression)
    if isinstance(node.expression, exp.All | exp.Any):
        return None
    if isinstance(node.parent, exp.Escape) or (pattern is not None and "\\" not in pattern):
        return node
    return exp.Escape(this=node.copy(), expression=_string("\\"))


def _regexp_extract(node: exp.RegexpExtract) -> exp.Expr | None:
    group = node.args.get("group")
    if any(node.args.get(name) for name in ("position", "occurrence", "parameters")):
        return None
    return call("regexp_extract", node.this, node.expression, group or exp.Literal.number(1))


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expr | None:
    """Java writes groups as $1, RE2 with a backslash."""
    replacement = _text(node.args.get("replacement"))
    if replacement is None or "\\" in replacement or any(node.args.get(name) for name in ("position", "occurrence")):
        return None
    return call(
        "regexp_replace", node.this, node.expression, _string(re.sub(r"\$(\d)", r"\\\1", replacement)), _string("g")
    )


def _split(node: exp.RegexpSplit) -> exp.Expr | None:
    if node.args.get("limit") or not _text(node.expression):
        return None
    return call("regexp_split_to_array", node.this, node.expression)


def _sha2(node: exp.SHA2) -> exp.Expr | None:
    return call("sha256", node.this) if node.text("length") in _SHA256 else None


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
    return call("spark_units_between", _string(unit.lower()), *moments) if known else None


def _months_between(node: exp.MonthsBetween) -> exp.Expr | None:
    roundoff = node.args.get("roundoff")
    if roundoff is not None and roundoff != exp.true():
        return None
    return call("spark_months_between", convert(node.this, "timestamp"), convert(node.expression, "timestamp"))


def _truncate(node: exp.TimestampTrunc) -> exp.Expr | None:
    unit = _MOMENT_TRUNCATIONS.get(_unit(node))
    return call("spark_truncate", _string(unit), convert(node.this, "timestamp")) if unit else None


def _truncate_date(node: exp.DateTrunc) -> exp.Expr | None:
    unit = _TRUNCATIONS.get(_unit(node))
    return call("spark_truncate_date", _string(unit), convert(node.this, "date")) if unit else None


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
    noted = _text(node.args.get("format"))
    pattern = pattern_of(noted) if noted else None
    return call("spark_parse", node.this, *map(_string, pattern)) if pattern else None


def _formatted(node: exp.Expr, moment: exp.Expr) -> exp.Expr | None:
    noted = _text(node.args.get("format"))
    pattern = pattern_of(noted) if noted else None
    return call("spark_format", moment, _string(pattern[0])) if pattern else None


def _date_format(node: exp.TimeToStr) -> exp.Expr | None:
    return _formatted(node, convert(node.this, "timestamp"))


def _from_unixtime(node: exp.UnixToStr) -> exp.Expr | None:
    return _formatted(node, call("spark_timestamp_seconds", node.this))


_DEFAULT_PATTERN = "%Y-%mstrict-%dstrict %Hstrict:%Mstrict:%Sstrict"


def _unix_timestamp(node: exp.StrToUnix) -> exp.Expr | None:
    default = _text(node.args.get("format")) in (None, _DEFAULT_PATTERN)
    moment = convert(node.this, "timestamp") if default else _parsed(node)
    return call("spark_unix_seconds", moment) if moment else None


def _bracket(node: exp.Bracket) -> exp.Expr | None:
    """x[i] counts from 0, element_at(x, i) from 1 and from the end; outside is an error. Maps by text keys."""
    if len(node.expressions) != 1 or isinstance(node.expressions[0], exp.Slice):
        return None
    (index,) = node.expressions
    if _text(index) is not None:
        return node
    if node.args.get("offset") != 1:
        return call("spark_item", node.this, index)
    return None if node.args.get("safe") else call("spark_element", node.this, index)


def _sort_array(node: exp.ArraySort) -> exp.Expr | None:
    if node.expression or isinstance(node.args.get("expression"), exp.Lambda):
        return None
    falling = node.args.get("asc") == exp.false()
    order = ("DESC", "NULLS LAST") if falling else ("ASC", "NULLS FIRST")
    return call("list_sort", node.this, *map(_string, order))


def _per_element(node: exp.Transform | exp.ArrayFilter) -> exp.Expr | None:
    """Functions of an element; those of element and index count differently."""
    function = node.expression
    if not isinstance(function, exp.Lambda) or len(function.expressions) != 1:
        return None
    return node


def _listagg(node: exp.GroupConcat) -> exp.Expr | None:
    """Without an order, Spark's is arbitrary: rows are joined in the order of their text, always the same."""
    if isinstance(node.this, exp.Order | exp.Distinct) or node.args.get("on_overflow"):
        return None
    separator = node.args.get("separator") or _string("")
    ordered = exp.Order(this=separator, expressions=[exp.Ordered(this=node.this.copy(), nulls_first=False)])
    return call("string_agg", node.this, ordered)


def _ignore_nulls(node: exp.IgnoreNulls) -> exp.Expr | None:
    inner = node.this
    if isinstance(inner, exp.First | exp.AnyValue):
        return call("any_value", inner.this)
    return node if isinstance(inner, exp.FirstValue | exp.LastValue | exp.NthValue | exp.Lag | exp.Lead) else None


def _percentile_within(node: exp.WithinGroup) -> exp.Expr | None:
    inner, ordered = node.this, node.expression.expressions
    if not isinstance(inner, exp.PercentileCont) or len(ordered) != 1:
        return None
    share = inner.this
    if ordered[0].args.get("desc"):
        share = exp.paren(exp.Sub(this=exp.Literal.number(1), expression=exp.paren(share)))
    return call("quantile_cont", convert(ordered[0].this, "double"), share)


def _exists(node: exp.Exists) -> exp.Expr | None:
    return node if isinstance(node.this, exp.Query) else None


def _explode(node: exp.Explode) -> exp.Expr | None:
    """One row an element, none for NULL and empty arrays; Spark names the column col."""
    if node.expressions:
        return None
    if isinstance(node.parent, exp.Alias | exp.Lateral):
        return node
    return exp.alias_(node.copy(), "col") if isinstance(node.parent, exp.Select) else None


def _lateral(node: exp.Lateral) -> exp.Expr | None:
    alias = node.args.get("alias")
    exploded = isinstance(node.this, exp.Explode) and not node.args.get("outer")
    named = bool(alias is not None and len(alias.columns) == 1)
    return node if isinstance(node.this, exp.Subquery) or (exploded and named) else None


def _values(node: exp.Values) -> exp.Expr | None:
    """Columns without names are col1, col2 in Spark and col0, col1 in DuckDB."""
    alias = node.args.get("alias")
    if alias is not None and alias.columns:
        return node
    width = len(node.expressions[0].expressions) if isinstance(node.expressions[0], exp.Tuple) else 1
    names = [exp.to_identifier(f"col{number}") for number in range(1, width + 1)]
    name = alias.this if alias is not None else exp.to_identifier("__values")
    node.set("alias", exp.TableAlias(this=name, columns=names))
    return node


def _json_text(node: exp.JSONExtractScalar) -> exp.Expr | None:
    return None if node.expressions else node


def _cast(node: exp.Cast) -> exp.Expr | None:
    return cast_like_spark(node)


def _count_distinct(node: exp.ApproxDistinct) -> exp.Expr:
    """The exact count is within the error that an approximate one may have, and always the same."""
    return exp.Count(this=exp.Distinct(expressions=[node.this]), big_int=True)


def _rand(node: exp.Rand) -> exp.Expr | None:
    """A seed gives other numbers in every engine."""
    return None if node.this is not None else node


def _struct(node: exp.Struct) -> exp.Expr | None:
    return None if any(isinstance(field, exp.Star) for field in node.expressions) else node


def _initcap(node: exp.Initcap) -> exp.Expr:
    return call("spark_initcap", node.this)


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Add: _shift,
    exp.Sub: _shift,
    exp.Div: _divide,
    exp.Round: _round,
    exp.Log: _log,
    exp.Floor: _whole,
    exp.Ceil: _whole,
    exp.Concat: _concat,
    exp.DPipe: _pipes,
    exp.ConcatWs: _concat_ws,
    exp.Pad: _pad,
    exp.Like: _like,
    exp.ILike: _like,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpReplace: _regexp_replace,
    exp.RegexpSplit: _split,
    exp.SHA2: _sha2,
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
    exp.Bracket: _bracket,
    exp.ArraySort: _sort_array,
    exp.Transform: _per_element,
    exp.ArrayFilter: _per_element,
    exp.GroupConcat: _listagg,
    exp.IgnoreNulls: _ignore_nulls,
    exp.WithinGroup: _percentile_within,
    exp.ApproxDistinct: _count_distinct,
    exp.Exists: _exists,
    exp.Explode: _explode,
    exp.Lateral: _lateral,
    exp.Values: _values,
    exp.JSONExtractScalar: _json_text,
    exp.Rand: _rand,
    exp.Initcap: _initcap,
    exp.Struct: _struct,
    exp.Cast: _cast,
    exp.TryCast: _cast,
}
