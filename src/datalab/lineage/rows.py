"""Rows of a table by what they must equal: files and row groups told from bounds, never more than is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Engine, Query
from datalab.engine.relations import FILE
from datalab.errors import SnapshotNotFound
from datalab.lake.lake import Lake
from datalab.lake.table import DataFile, Relation, TableState
from datalab.lineage.narrow import Points, Span, exact_points, files_with, restrictions, sharpest, span
from datalab.lineage.pages import files_holding
from datalab.lineage.strands import INPUT
from datalab.names import TableName, is_internal
from datalab.pipelines.cdc import SEQUENCE

PARENT = "__parent"
_NUMBER, _ROWS, _WANTED = "__number", "rows_read", "wanted_row"
_PARENT = exp.column(PARENT, table=_WANTED)
_AT_ONCE = 2_000
_FEW_FILES = 4


@dataclass(frozen=True)
class Standing:
    """A table at the snapshot that is read. `note` says why that is not the recorded one."""

    state: TableState
    relation: Relation
    snapshot: int | None
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that readers see, and the sequence of an upsert."""
        return tuple(name for name in self.relation.schema.names if not is_internal(name) or name == SEQUENCE)


@dataclass(frozen=True)
class Link:
    """A wanted value: `expression` over the table's row equals `column` of the wanted rows; NULL equals NULL.

    `loose`: where the wanted value is NULL, any will do; `or_null`: where the table's is NULL, it will do too.
    """

    column: str
    expression: exp.Expr
    loose: bool = False
    or_null: bool = False


@dataclass(frozen=True)
class Search:
    """Which rows are looked for: one or more wanted rows, and what every row has to meet besides.

    `judged` is like `conditions`, for what is dear: it is asked only of rows that are those wanted.
    `limit` 0 is all of them; else so many for each wanted row, sorted by `order`, and if there are thousands any.
    """

    links: Sequence[Link]
    wanted: pa.Table
    conditions: Sequence[exp.Expr] = ()
    order: Sequence[str] = ()
    limit: int = 0
    judged: Sequence[exp.Expr] = ()


@dataclass(frozen=True)
class Found:
    """Rows in all columns, each with the number of the wanted row it belongs to in `__parent`, and all counts."""

    rows: pa.Table
    totals: Mapping[int, int]


class Tables:
    """The tables of the lake as one trace reads them."""

    def __init__(self, lake: Lake, engine: Engine, now: datetime) -> None:
        self.lake = lake
        self._engine = engine
        self._now = now
        self._states: dict[TableName, TableState] = {}

    def state(self, name: TableName) -> TableState:
        """The newest state of a table, the same during the whole trace. TableNotFound."""
        if name not in self._states:
            self._states[name] = self.lake.require(name)
        return self._states[name]

    def exists(self, name: TableName) -> bool:
        """Whether there is such a table."""
        return name in self._states or self.lake.state(name) is not None

    def at(self, name: TableName, snapshot: int | None) -> Standing:
        """A table as it was recorded; as it is now, with a note, where that snapshot is not there any more."""
        state = self.state(name)
        if snapshot is None or snapshot == state.snapshot:
            return Standing(state, self.lake.files(state), state.snapshot)
        try:
            return Standing(state, self.lake.files(state, snapshot), snapshot)
        except SnapshotNotFound:
            note = f"snapshot {snapshot} is not there any more: read at {state.snapshot}"
            return Standing(state, self.lake.files(state), state.snapshot, note)

    def find(self, table: Standing, search: Search) -> Found:
        """The rows looked for, as far as the limit, and how many there are."""
        if not search.wanted.num_rows:
            return Found(table.relation.schema.append(pa.field(PARENT, pa.int64())).empty_table(), {})
        most = max(_AT_ONCE, search.limit * search.wanted.num_rows) if search.limit else 0
        spans = _spans(search, table.relation.schema)
        tree, relations = _asked(table, search, spans, self._narrowed(table, spans))
        everything = tree.select(_PARENT, *_columns(table.columns))
        rows = self.ask(everything.limit(most + 1) if most else everything, relations)
        if not most or rows.num_rows <= most:
            return Found(_first(rows, search), _counted(rows.column(PARENT)))
        counting = tree.select(_PARENT, exp.alias_(exp.Count(this=exp.Star()), "n")).group_by(_PARENT)
        totals = self.ask(counting, relations)
        counts = dict(zip(totals.column(PARENT).to_pylist(), totals.column("n").to_pylist(), strict=True))
        return Found(_first(rows, search), counts)

    def _narrowed(self, table: Standing, spans: Sequence[Sequence[Span]]) -> Relation:
        """The files that may hold the rows: by their bounds, and, where many are left, by one column that is read."""
        relation = table.relation
        if relation.scan is not None or relation.memory is not None:
            return relation
        files = files_with(relation.files, spans, relation.schema)
        points = exact_points(spans, relation.schema) if len(files) > _FEW_FILES else []
        sharp = sharpest(points, files)
        if sharp is not None:
            return replace(relation, files=self._with_points(str(table.state.name), files, sharp))
        texts = next((each for each in points if pa.types.is_string(each.field.type)), None)
        if texts is not None:
            files = files_holding(files, texts.field, relation.schema, texts.values)
        return replace(relation, files=files)

    def _with_points(self, name: str, files: tuple[DataFile, ...], points: Points) -> tuple[DataFile, ...]:
        """The files that hold one of some values of a column, which is read."""
        place = exp.column(exp.to_identifier(FILE, quoted=True), table=INPUT)
        source = exp.alias_(exp.to_table(name), INPUT, table=True)
        tree = exp.select(place).distinct().from_(source).where(points.condition)
        hit = set(
            self.ask(tree, {name: Relation(pa.schema([points.field]), files, located=True)}).column(0).to_pylist()
        )
        if not hit <= {file.path for file in files}:  # read under other names than the table has them
            return files
        return tuple(file for file in files if file.path in hit)

    def compute(self, rows: pa.Table, expressions: Mapping[str, exp.Expr]) -> pa.Table:
        """Expressions over rows that were read, in the order of the rows."""
        numbered = rows.append_column(_NUMBER, pa.array(range(rows.num_rows), pa.int64()))
        named = [exp.alias_(part.copy(), name, quoted=True) for name, part in expressions.items()]
        source = exp.alias_(exp.to_table(_ROWS), INPUT, table=True)
        tree = exp.select(exp.column(_NUMBER, table=INPUT), *named).from_(source)
        answer = self.ask(tree, {_ROWS: Relation(numbered.schema, memory=numbered)})
        return answer.sort_by(_NUMBER).drop_columns([_NUMBER])

    def ask(self, tree: exp.Query, relations: Mapping[str, Relation]) -> pa.Table:
        """The rows of a query."""
        return self._engine.read(Query(tree, relations, self._now, "trace")).read_all()


def links_of(wanted: pa.Table) -> tuple[Link, ...]:
    """Wanted values under the names of the table's own columns."""
    names = wanted.schema.names
    return tuple(Link(name, column) for name, column in zip(names, _columns(names), strict=True))


def _asked(
    table: Standing, search: Search, spans: Sequence[Sequence[Span]], relation: Relation
) -> tuple[exp.Select, dict[str, Relation]]:
    """The rows looked for beside the wanted ones, no column selected yet."""
    wanted = search.wanted.append_column(PARENT, pa.array(range(search.wanted.num_rows), pa.int64()))
    name = str(table.state.name)
    source = exp.alias_(exp.to_table(name), INPUT, table=True)
    other = exp.alias_(exp.to_table(_WANTED), _WANTED, table=True)
    tree = exp.select().from_(source).join(other, on=_same(search), join_type="inner")
    found = exp.not_(exp.Is(this=_PARENT.copy(), expression=exp.null()))  # known only once the tables have met
    judged = [exp.Case().when(found.copy(), part.copy()) for part in search.judged]
    tree = tree.where(*[part.copy() for part in search.conditions], *judged, *restrictions(spans))
    return tree, {name: relation, _WANTED: Relation(wanted.schema, memory=wanted)}


def _same(search: Search) -> exp.Expr:
    """The wanted values are met. Equality is several times as fast as IS NOT DISTINCT FROM where no NULL is wanted."""
    parts = []
    for link in search.links:
        wanted = exp.column(exp.to_identifier(link.column, quoted=True), table=_WANTED)
        nulls = search.wanted.column(link.column).null_count > 0
        same = (exp.NullSafeEQ if nulls else exp.EQ)(this=exp.paren(link.expression.copy()), expression=wanted)
        free = [wanted] if link.loose and nulls else [link.expression] if link.or_null else []
        missing = [exp.Is(this=side.copy(), expression=exp.null()) for side in free]
        parts.append(exp.paren(exp.or_(*missing, same)) if missing else same)
    return exp.and_(*parts)


def _spans(search: Search, schema: pa.Schema) -> list[list[Span]]:
    """What is known of the columns of the rows that belong to each of the wanted ones."""
    rows = search.wanted.to_pylist()
    return [
        [
            found
            for link in search.links
            if not (link.or_null or (link.loose and row[link.column] is None))
            and (found := span(link.expression, row[link.column], schema)) is not None
        ]
        for row in rows
    ]


def _columns(names: Sequence[str]) -> list[exp.Expr]:
    return [exp.column(exp.to_identifier(name, quoted=True), table=INPUT) for name in names]


def _first(rows: pa.Table, search: Search) -> pa.Table:
    """The rows in order, no more per wanted row than asked for."""
    order = [name for name in search.order if name in rows.column_names]
    rows = rows.sort_by([(PARENT, "ascending"), *((name, "ascending") for name in order)])
    if not search.limit:
        return rows
    seen: Counter[int] = Counter()
    kept = []
    for number, parent in enumerate(rows.column(PARENT).to_pylist()):
        seen[parent] += 1
        if seen[parent] <= search.limit:
            kept.append(number)
    return rows.take(pa.array(kept, pa.int64()))


def _counted(parents: pa.ChunkedArray) -> dict[int, int]:
    return dict(Counter(parents.to_pylist()))
