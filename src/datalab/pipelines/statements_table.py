"""What a CREATE of a table or view may say between its name and its query: columns, constraints, clauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from sqlglot import exp
from sqlglot.errors import ParseError

from datalab.lake.table import PartitionField
from datalab.pipelines.cursor import Cursor, Words
from datalab.pipelines.model import Column, Constraint, DatasetKind
from datalab.pipelines.properties import wrong_name, wrong_value
from datalab.pipelines.query import parse_condition


class Clauses(TypedDict, total=False):
    """The clauses of a dataset, named as its fields."""

    format: str
    partition: tuple[PartitionField, ...]
    cluster: tuple[str, ...]
    comment: str
    properties: dict[str, str]


_COLUMN_END: tuple[Words, ...] = ((",",), (")",), ("NOT", "NULL"), ("COMMENT",))
_UNSUPPORTED_COLUMN = {
    ("MASK",): "mask in the query, or tag the field in its contract",
    ("DEFAULT",): "write coalesce(column, value) in the query",
    ("GENERATED",): "compute the column in the query",
    ("PRIMARY", "KEY"): "AUTO CDC … KEYS (…) keeps keys unique",
    ("REFERENCES",): "check it in a query of its own",
    ("COLLATE",): "leave it out: strings compare by their bytes",
    ("CHECK",): "write CONSTRAINT name EXPECT (condition)",
    ("UNIQUE",): "AUTO CDC … KEYS (…) keeps keys unique",
}
_UNSUPPORTED_CONSTRAINT = {
    ("PRIMARY", "KEY"): "AUTO CDC … KEYS (…) keeps keys unique",
    ("FOREIGN", "KEY"): "leave it out: it would not be enforced",
    ("CHECK",): "write CONSTRAINT name EXPECT (condition)",
    ("UNIQUE",): "AUTO CDC … KEYS (…) keeps keys unique",
}
_UNSUPPORTED_CLAUSE = {
    ("SCHEDULE",): "put the schedule under `schedules` in datalab.yaml",
    ("TRIGGER",): "put the schedule under `schedules` in datalab.yaml",
    ("REFRESH",): "leave it out: datalab plan chooses what to recompute",
    ("WITH", "ROW", "FILTER"): "filter in the query",
    ("ROW", "FILTER"): "filter in the query",
    ("WITH",): "leave it out",
    ("LOCATION",): "the warehouse is set in datalab.yaml",
    ("OPTIONS",): "use TBLPROPERTIES",
    ("CLUSTERED", "BY"): "use CLUSTER BY (columns)",
    ("ROW", "FORMAT"): "tables are Iceberg or Delta",
    ("STORED",): "USING iceberg, or USING delta",
    ("DEFAULT", "COLLATION"): "leave it out: strings compare by their bytes",
    ("COLLATE",): "leave it out: strings compare by their bytes",
}
_TYPE_HINT = "STRING, BIGINT, INT, DOUBLE, DECIMAL(p, s), BOOLEAN, DATE, TIMESTAMP, ARRAY<…>, MAP<…>, STRUCT<a: …>"
_TRANSFORMS = {word: f"{unit}s" for unit in ("year", "month", "day", "hour") for word in (unit, f"{unit}s")}
FORMATS = ("iceberg", "delta")


def parse_elements(cursor: Cursor) -> tuple[tuple[Column, ...], tuple[Constraint, ...]]:
    """The bracket after a table's name, if any: columns and expectations in any order, each name once."""
    columns: list[Column] = []
    constraints: list[Constraint] = []

    def element() -> None:
        place = cursor.token.start
        if cursor.at("CONSTRAINT"):
            found: Column | Constraint = _constraint(cursor)
        else:
            found = _column(cursor, constraints)
        named: list[Column | Constraint] = [*(columns if isinstance(found, Column) else constraints)]
        if found.name.lower() in (other.name.lower() for other in named):
            raise cursor.source.syntax_error(place, f"{found.name} is declared twice", "remove or rename one")
        if isinstance(found, Column):
            columns.append(found)
        else:
            constraints.append(found)

    if cursor.at("("):
        cursor.listed(element)
    return tuple(columns), tuple(constraints)


def parse_clauses(cursor: Cursor, kind: DatasetKind) -> Clauses:
    """USING, PARTITIONED BY, CLUSTER BY, COMMENT, TBLPROPERTIES in any order, each once; views have COMMENT only."""
    clauses = Clauses()
    seen: set[Words] = set()
    while True:
        _refuse(cursor, _UNSUPPORTED_CLAUSE)
        words = next((words for words in _CLAUSES if cursor.at(*words)), None)
        if words is None:
            return clauses
        if words in seen:
            raise cursor.error(f"{' '.join(words)} is given twice", "remove one of the two")
        if kind == "temporary_view" and words != ("COMMENT",):
            raise cursor.unsupported(f"{' '.join(words)} of a temporary view", "a temporary view is never stored")
        seen.add(words)
        _CLAUSES[words](cursor, clauses)
        if {("PARTITIONED", "BY"), ("CLUSTER", "BY")} <= seen:
            raise cursor.error("a table has PARTITIONED BY or CLUSTER BY, not both", "remove one of the two")


def _column(cursor: Cursor, constraints: list[Constraint]) -> Column:
    origin = cursor.origin
    name = cursor.name("a column or CONSTRAINT")
    kind = _type(cursor)
    nullable, comment = True, ""
    while not cursor.at(",") and not cursor.at(")"):
        _refuse(cursor, _UNSUPPORTED_COLUMN)
        if nullable and cursor.accept("NOT", "NULL"):
            nullable = False
        elif not comment and cursor.accept("COMMENT"):
            comment = cursor.string("the comment")
        else:
            raise cursor.unexpected("NOT NULL, COMMENT, a comma or the closing bracket")
    if not nullable:
        condition = exp.column(exp.to_identifier(name)).is_(exp.null()).not_()
        constraints.append(Constraint(f"{name.lower()}_not_null", condition, "fail", origin))
    return Column(name, kind, comment, nullable)


def _type(cursor: Cursor) -> str:
    place = cursor.token.start
    ends = (*_COLUMN_END, *_UNSUPPORTED_COLUMN)
    depth = 0
    pieces = []
    while not cursor.ended() and not cursor.at(";") and (depth or not cursor.at_any(ends)):
        token = cursor.advance()
        depth += (token.text in ("(", "<")) - (token.text in (")", ">"))
        pieces.append((token.start, token.end))
    if not pieces:
        return ""
    text = cursor.source.text[pieces[0][0] : pieces[-1][1]]
    try:
        exp.DataType.build(text, dialect="spark")
    except ParseError as error:
        raise cursor.source.syntax_error(place, f"'{text}' is not a type of Spark", _TYPE_HINT) from error
    return text


def _constraint(cursor: Cursor) -> Constraint:
    origin = cursor.origin
    cursor.expect("CONSTRAINT")
    name = cursor.name("the constraint's name")
    _refuse(cursor, _UNSUPPORTED_CONSTRAINT)
    cursor.expect("EXPECT", hint="write CONSTRAINT name EXPECT (condition) [ON VIOLATION DROP ROW | FAIL UPDATE]")
    condition = parse_condition(cursor.source, *cursor.parenthesised())
    if not cursor.accept("ON"):
        return Constraint(name, condition, "warn", origin)
    cursor.expect("VIOLATION")
    if cursor.accept("DROP", "ROW"):
        return Constraint(name, condition, "drop", origin)
    if cursor.accept("FAIL", "UPDATE"):
        return Constraint(name, condition, "fail", origin)
    raise cursor.unexpected("DROP ROW or FAIL UPDATE", "leave ON VIOLATION out to count and warn only")


def _using(cursor: Cursor, clauses: Clauses) -> None:
    cursor.expect("USING")
    if cursor.token.text.lower() not in FORMATS:
        raise cursor.unsupported(f"USING {cursor.token.text}", "USING iceberg, or USING delta")
    clauses["format"] = cursor.name("a table format").lower()


def _partitioned_by(cursor: Cursor, clauses: Clauses) -> None:
    cursor.expect("PARTITIONED", "BY")
    clauses["partition"] = cursor.listed(lambda: _partition_field(cursor))


def _partition_field(cursor: Cursor) -> PartitionField:
    start = cursor.token
    name = cursor.name("a column or months(column)")
    if not cursor.at("("):
        if not cursor.at(",") and not cursor.at(")"):
            raise cursor.unsupported("a type in PARTITIONED BY", "name the column only; its type comes from the query")
        return PartitionField(name)
    if name.lower() not in _TRANSFORMS:
        raise cursor.source.unsupported(start.start, f"the transform {name}", "use years, months, days or hours")
    cursor.expect("(")
    field = PartitionField(cursor.name("a column"), _TRANSFORMS[name.lower()])
    cursor.expect(")")
    return field


def _cluster_by(cursor: Cursor, clauses: Clauses) -> None:
    cursor.expect("CLUSTER", "BY")
    for word in ("AUTO", "NONE"):
        if cursor.at(word):
            raise cursor.unsupported(f"CLUSTER BY {word}", "name the columns: CLUSTER BY (a, b)")
    clauses["cluster"] = cursor.columns()


def _comment(cursor: Cursor, clauses: Clauses) -> None:
    cursor.expect("COMMENT")
    clauses["comment"] = cursor.string("the comment")


def _properties(cursor: Cursor, clauses: Clauses) -> None:
    cursor.expect("TBLPROPERTIES")
    found: dict[str, str] = {}
    cursor.listed(lambda: _property(cursor, found))
    clauses["properties"] = found


def _property(cursor: Cursor, found: dict[str, str]) -> None:
    place = cursor.token.start
    key = cursor.advance().text if cursor.token.kind == "string" else cursor.dotted("a property's name")
    if key in found:
        raise cursor.source.syntax_error(place, f"the property {key} is set twice", "remove one of the two")
    if wrong := wrong_name(key):
        raise cursor.source.syntax_error(place, *wrong)
    cursor.accept("=")
    if cursor.token.kind not in ("string", "number", "word"):
        raise cursor.unexpected("a value", "write 'name' = 'value'")
    if wrong := wrong_value(key, cursor.token.text):
        raise cursor.error(*wrong)
    found[key] = cursor.advance().text


def _refuse(cursor: Cursor, unsupported: dict[Words, str] | dict[tuple[str], str]) -> None:
    for words, hint in unsupported.items():
        if cursor.at(*words):
            raise cursor.unsupported(" ".join(words), hint)


_CLAUSES: dict[Words, Callable[[Cursor, Clauses], None]] = {
    ("USING",): _using,
    ("PARTITIONED", "BY"): _partitioned_by,
    ("CLUSTER", "BY"): _cluster_by,
    ("COMMENT",): _comment,
    ("TBLPROPERTIES",): _properties,
}
