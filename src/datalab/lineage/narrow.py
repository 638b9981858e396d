"""What a wanted value says of the columns of a table: which files may hold the row, and which parts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlglot import exp

from datalab.engine.pruning import KeyRange, candidates
from datalab.lake.table import DataFile
from datalab.lineage.strands import INPUT

_MOST_POINTS = 64
_MOST_ROWS = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = {"timestamp_seconds": 1_000_000, "timestamp_millis": 1_000, "timestamp_micros": 1}


@dataclass(frozen=True)
class Span:
    """A column, or a field inside one, and the lowest and highest value it can have; both None: it is NULL."""

    column: exp.Expr
    low: Any
    high: Any


@dataclass(frozen=True)
class Points:
    """A column of a table of which every wanted row has one of these values; `condition` says so."""

    field: pa.Field
    values: tuple[Any, ...]
    condition: exp.Expr


def span(expression: exp.Expr, value: Any, schema: pa.Schema) -> Span | None:
    """What `expression` = `value` says of the one column that it is made of; None where that is nothing."""
    found = _inverted(expression, value)
    if found is None:
        return None
    kind = _type_of(found.column, schema)
    values = [each for each in (found.low, found.high) if each is not None]
    return found if kind is not None and all(_comparable(each, kind) for each in values) else None


def restrictions(spans: Sequence[Sequence[Span]]) -> list[exp.Expr]:
    """Conditions that a row must meet to be one of several wanted ones; `spans` are those of each."""
    return [_condition(column, found) for column, found in _told(spans)]


def exact_points(spans: Sequence[Sequence[Span]], schema: pa.Schema) -> list[Points]:
    """What is known of columns of which a wanted row must have one of a few values exactly."""
    fields = {field.name.lower(): field for field in schema}
    known = []
    for column, found in _told(spans):
        values = tuple(dict.fromkeys(each.low for each in found))
        exact = all(each.low is not None and each.low == each.high for each in found)
        if exact and isinstance(column, exp.Column) and len(values) <= _MOST_POINTS:
            known.append(Points(fields[column.name.lower()], values, _condition(column, found)))
    return known


def sharpest(points: Sequence[Points], files: Sequence[DataFile]) -> Points | None:
    """A moment or whole number that few rows have by chance; it is read many times as fast as all that tells the row.

    Whole numbers that lie close together recur: such as those of the rows of many small sources in one file.
    """
    for each in points:
        whole = pa.types.is_int64(each.field.type)
        if pa.types.is_timestamp(each.field.type) or (whole and not _recurs(each.field.name, files)):
            return each
    return None


def _recurs(name: str, files: Sequence[DataFile]) -> bool:
    known = [file for file in files if name in file.lower and name in file.upper]
    close = [file for file in known if file.upper[name] - file.lower[name] < file.rows - 1]
    return 2 * len(close) > len(known)


def _told(spans: Sequence[Sequence[Span]]) -> list[tuple[exp.Expr, list[Span]]]:
    """The columns of which something is known for each of the wanted rows, with what it is."""
    columns = {each.column.sql(): each.column for each in (spans[0] if spans else ())}
    told = {text: [each for one in spans for each in one if each.column.sql() == text] for text in columns}
    return [(columns[text], found) for text, found in told.items() if len(found) >= len(spans)]


def files_with(files: Sequence[DataFile], spans: Sequence[Sequence[Span]], schema: pa.Schema) -> tuple[DataFile, ...]:
    """The files that may hold one of several wanted rows, told from their bounds."""
    if not spans or len(spans) > _MOST_ROWS:
        return tuple(files)
    exact = {name.lower(): name for name in schema.names}
    ranges = [
        {exact[each.column.name.lower()]: _range(each) for each in one if isinstance(each.column, exp.Column)}
        for one in spans
    ]
    hit = {file.path for wanted in ranges for file in candidates(files, wanted)}
    return tuple(file for file in files if file.path in hit)


def literal(value: Any) -> exp.Expr:
    """A value as a literal of the Spark dialect."""
    if value is None:
        return exp.null()
    if isinstance(value, datetime):
        return exp.cast(exp.Literal.string(value.isoformat(sep=" ")), "TIMESTAMP", dialect="spark")
    if isinstance(value, date):
        return exp.cast(exp.Literal.string(value.isoformat()), "DATE")
    return exp.convert(value)


def _range(each: Span) -> KeyRange:
    return KeyRange(each.low, each.high, has_null=each.low is None)


def _condition(column: exp.Expr, found: Sequence[Span]) -> exp.Expr:
    parts = [exp.and_(*told, copy=False)] if (told := _values(column, found)) else []
    if any(each.low is None for each in found):
        parts.append(exp.Is(this=column.copy(), expression=exp.null()))
    return exp.paren(exp.or_(*parts, copy=False))


def _values(column: exp.Expr, found: Sequence[Span]) -> list[exp.Expr]:
    """Few points are told apart; of several that are no texts the bounds too, which spare the row's other columns."""
    points = dict.fromkeys(each.low for each in found if each.low is not None)
    few = len(points) <= _MOST_POINTS and all(each.low == each.high for each in found)
    told: list[exp.Expr] = []
    if points and few:
        told.append(exp.In(this=column.copy(), expressions=[literal(value) for value in points]))
    if points and not (few and (len(points) == 1 or isinstance(next(iter(points)), str))):
        low, high = min(points), max(each.high for each in found if each.high is not None)
        told.append(exp.Between(this=column.copy(), low=literal(low), high=literal(high)))
    return told


def _inverted(expression: exp.Expr, value: Any) -> Span | None:
    if isinstance(expression, exp.Paren):
        return _inverted(expression.this, value)
    if _is_column(expression):
        return Span(expression, value, value)
    inverse = next((found for kind, found in _INVERSES if isinstance(expression, kind)), None)
    return None if inverse is None or value is None else inverse(expression, value)


def _is_column(expression: exp.Expr) -> bool:
    if isinstance(expression, exp.Dot):
        return isinstance(expression.expression, exp.Identifier) and _is_column(expression.this)
    return isinstance(expression, exp.Column) and expression.table == INPUT


def _case(expression: Any, value: Any) -> Span | None:
    """CASE WHEN … THEN x END, with nothing else to answer: where it is not NULL it is x."""
    branches, default = expression.args.get("ifs") or [], expression.args.get("default")
    if len(branches) != 1 or expression.this is not None or not (default is None or isinstance(default, exp.Null)):
        return None
    return _inverted(branches[0].args["true"], value)


def _coalesce(expression: Any, value: Any) -> Span | None:
    """coalesce(x, 'constant'): any other value is that of x."""
    others = expression.expressions
    if len(others) != 1 or not others[0].is_string or not isinstance(value, str) or others[0].this == value:
        return None
    return _inverted(expression.this, value)


def _call(expression: Any, value: Any) -> Span | None:
    """A moment made of a count of ticks since 1970."""
    ticks = _TICKS.get(expression.name.lower())
    if ticks is None or not isinstance(value, datetime) or len(expression.expressions) != 1:
        return None
    whole, rest = divmod((value - _EPOCH) // timedelta(microseconds=1), ticks)
    return None if rest else _inverted(expression.expressions[0], whole)


def _day(expression: Any, value: Any) -> Span | None:
    """The date of a moment."""
    if isinstance(expression, exp.Cast) and not expression.is_type("date"):
        return None
    if not isinstance(value, date) or isinstance(value, datetime):
        return None
    found = _inverted(expression.this, value)
    first = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return Span(found.column, first, first + timedelta(days=1, microseconds=-1)) if found else None


_INVERSES: tuple[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[[Any, Any], Span | None]], ...] = (
    (exp.Case, _case),
    (exp.Coalesce, _coalesce),
    (exp.Anonymous, _call),
    ((exp.Cast, exp.TsOrDsToDate, exp.Date), _day),
)


def _type_of(column: exp.Expr, schema: pa.Schema) -> pa.DataType | None:
    if isinstance(column, exp.Dot):
        outer = _type_of(column.this, schema)
        return _named(outer, column.expression.name) if outer is not None and pa.types.is_struct(outer) else None
    return _named(schema, column.name)


def _named(fields: Iterable[pa.Field], name: str) -> pa.DataType | None:
    return next((field.type for field in fields if field.name.lower() == name.lower()), None)


def _comparable(value: Any, kind: pa.DataType) -> bool:
    """Whether a column of this type can be compared with the value, and its bounds too."""
    if isinstance(value, bool):
        return bool(pa.types.is_boolean(kind))
    if isinstance(value, int | Decimal):
        return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))
    if isinstance(value, datetime):
        return bool(pa.types.is_timestamp(kind))
    if isinstance(value, date):
        return bool(pa.types.is_date(kind))
    return isinstance(value, str) and bool(pa.types.is_string(kind))
