"""Features as they were: for each asked entity and moment what the gold query would have answered then.

Large groups are asked for one period after the other, each over all rows up to its end, so that medians and distinct
counts of one period at a time are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp

from datalab.engine.base import Engine, Query
from datalab.features.derivation import MOMENT, MOMENTS, ROW, Definition, Derivation, derive, refuse
from datalab.features.exactness import Summed, bounds, centre_names, centres, exactly, measured, summed
from datalab.lake.table import Relation
from datalab.names import TableName

PERIODS: Mapping[str, str] = {"day": "DAY", "week": "WEEK", "month": "MONTH"}
_ROWS_AT_ONCE = 10_000_000
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Past:
    """Tables at fixed snapshots, and who computes over them. `now` is what current_timestamp() would answer."""

    engine: Engine
    tables: Mapping[TableName, Relation]
    now: datetime

    def ask(self, tree: exp.Query, memory: Mapping[str, pa.Table] | None = None, origin: str = "") -> pa.Table:
        """The rows of a query over the tables and over Arrow tables by name."""
        return self.engine.read(self.query(tree, memory, origin)).read_all()

    def query(self, tree: exp.Query, memory: Mapping[str, pa.Table] | None = None, origin: str = "") -> Query:
        """The query with all that it may read."""
        relations = {str(name): relation for name, relation in self.tables.items()}
        held = {name: Relation(table.schema, memory=table) for name, table in (memory or {}).items()}
        return Query(tree, {**relations, **held}, self.now, origin)

    def schema(self, tree: exp.Query, memory: Mapping[str, pa.Table] | None = None, origin: str = "") -> pa.Schema:
        """The columns of a query, without reading."""
        return self.engine.schema(self.query(tree, memory, origin))


def spark(text: str) -> exp.Query:
    """A query of our own making, parsed."""
    tree = sqlglot.parse_one(text, read="spark")
    assert isinstance(tree, exp.Query)
    return tree


def named(column: str) -> str:
    """A column's name as Spark quotes it."""
    return "`" + column.replace("`", "``") + "`"


def as_of(definition: Definition, moment: str) -> str:
    """The moment up to which rows count, as Spark SQL: the moment itself, or the end of the period before it."""
    period = PERIODS.get(definition.accuracy)
    return f"date_trunc('{period}', {moment})" if period else moment


def view_at(past: Past, definition: Definition) -> Derivation:
    """The view's query taken apart, its columns known. FeatureError."""
    table = past.tables[definition.source]
    return derive(definition, past.schema, table.schema.names)


def asked_keys(derivation: Derivation) -> list[str]:
    """The columns that hold the entity in a table of asked moments."""
    return [f"datalab_k{number}" for number in range(len(derivation.keys))]


def features_at(past: Past, derivation: Derivation, asked: pa.Table, told: Told) -> pa.Table:
    """The features of distinct entities and moments, by datalab_row: the timestamp and the view's features.

    `asked` has datalab_row, datalab_k0 … (the entity) and datalab_moment; a row is missing where nothing had happened.
    """
    _check_keys(past, derivation, asked)
    rows = past.tables[derivation.table].rows
    parts = _summed(past, derivation)
    moments = _with_centres(past, derivation, asked, parts)
    tree = derivation.at_moments(lambda select: exactly(select, parts, rows))
    answers = []
    for number, (chunk, total) in enumerate(_chunks(derivation.definition, moments, rows), 1):
        answers.append(past.ask(tree, {MOMENTS: chunk}, derivation.definition.table))
        told(number, total)
    if not answers:
        return past.schema(tree, {MOMENTS: moments}).empty_table()
    return pa.concat_tables(answers)


def _check_keys(past: Past, derivation: Derivation, asked: pa.Table) -> None:
    keys = derivation.over_input([exp.alias_(key.copy(), f"k{number}") for number, key in enumerate(derivation.keys)])
    for field, name, entity in zip(
        past.schema(keys), asked_keys(derivation), derivation.definition.entity, strict=True
    ):
        given = asked.schema.field(name).type
        if not given.equals(field.type):
            refuse(derivation.definition, f"its entity {entity} is {field.type}, and the labels give {given}")


def _summed(past: Past, derivation: Derivation) -> tuple[Summed, ...]:
    """What has to be added up exactly: sums of whole numbers and decimals are exact as they are."""
    every = summed(derivation)
    arguments = [exp.alias_(part.argument.copy(), f"x{number}") for number, part in enumerate(every)]
    kinds = past.schema(derivation.over_input(arguments)).types if arguments else []
    parts = [part for part, kind in zip(every, kinds, strict=True) if part.spread or pa.types.is_floating(kind)]
    if not parts:
        return ()
    (answer,) = past.ask(derivation.over_input(bounds(parts))).to_pylist()
    return measured(parts, answer)


def _with_centres(past: Past, derivation: Derivation, asked: pa.Table, parts: Sequence[Summed]) -> pa.Table:
    names = centre_names(parts)
    if not names or not asked.num_rows:
        return asked
    keys = asked_keys(derivation)
    of_group = [exp.alias_(key.copy(), f"g{number}") for number, key in enumerate(derivation.keys)]
    tree = derivation.over_input([*of_group, *centres(parts, derivation.since)])
    tree.where(exp.Exists(this=_same_group(derivation)), copy=False)
    tree.group_by(*[key.copy() for key in derivation.keys], copy=False)
    found = past.ask(tree, {"datalab_asked": asked.select(keys)})
    same = " AND ".join(f"a.{key} <=> c.g{number}" for number, key in enumerate(keys))
    wanted = ", ".join([ROW, *keys, MOMENT, *names])
    joined = spark(f"SELECT {wanted} FROM datalab_asked AS a LEFT JOIN datalab_found AS c ON {same}")
    return past.ask(joined, {"datalab_asked": asked, "datalab_found": found})


def _same_group(derivation: Derivation) -> exp.Select:
    equal = [
        exp.NullSafeEQ(this=exp.column(name, "datalab_asked"), expression=exp.paren(key.copy()))
        for name, key in zip(asked_keys(derivation), derivation.keys, strict=True)
    ]
    return exp.select("1").from_("datalab_asked").where(*equal)


def _chunks(definition: Definition, moments: pa.Table, rows: int) -> Iterator[tuple[pa.Table, int]]:
    """Parts of the moments, so many periods in each that they read no more rows than fit, and how many parts."""
    if not moments.num_rows:
        return
    if definition.accuracy == "event":
        yield moments, 1
        return
    periods = pc.unique(moments.column(MOMENT)).sort()
    size = max(1, _ROWS_AT_ONCE // max(1, rows))
    total = -(-len(periods) // size)
    for start in range(0, len(periods), size):
        wanted = periods.slice(start, size)
        yield moments.filter(pc.is_in(moments.column(MOMENT), wanted)), total
