"""What is kept of a grouped view beside its rows: made with it, advanced by changes, committed in the same commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp

from datalab.engine.base import Engine, Query, Work
from datalab.errors import PipelineTypeError, UntranslatableFunction
from datalab.lake.table import DataFile, Relation, WriteTarget
from datalab.pipelines.aggregates import Kept
from datalab.pipelines.pieces import MOST_PIECES, Pieces
from datalab.pipelines.upkeep import Upkeep
from datalab.pipelines.upkeep_parts import Part, kept_columns, part_of

_SAMPLE = 50_000
_MOST_GROUPS = 200_000
_MOST_SUMS = 3_000_000  # where nothing is kept but a few numbers of each group
_SMALLEST = 2  # rows of a group, on average
GROUPS, NUMBERS = "groups", "numbers"
Files = Mapping[str, tuple[DataFile, ...]]


class Lost(Exception):
    """What was kept does not fit the rows, or is gone: the view is to be computed as a whole."""


@dataclass(frozen=True)
class View:
    """A view to keep: taken apart, over what its tables stand for. `place` is the folder of what is kept."""

    kept: Kept
    relations: Mapping[str, Relation]
    place: WriteTarget
    now: datetime
    origin: str = ""


@dataclass(frozen=True)
class Keeping:
    """What is kept from now on: `made` are its new files; `touched` the groups that changed and still have rows.

    `keys` are those of all groups that changed.
    """

    files: Files
    made: tuple[DataFile, ...]
    touched: pa.Table
    keys: pa.Table


@dataclass
class Keeper:
    """Makes and advances what is kept of one view."""

    engine: Engine
    view: View
    upkeep: Upkeep
    schema: pa.Schema
    made: list[DataFile] = field(default_factory=list)

    def make(self, largest_share: float) -> Keeping | None:
        """All of it from the rows. None where there are so many groups that keeping them is no gain."""
        most = self._most(largest_share)
        groups = self._ask(self.upkeep.build()) if most else None
        if groups is None or groups.num_rows > most:
            return None
        files: dict[str, tuple[DataFile, ...]] = {}
        for part in self.upkeep.parts:
            if part.counted:
                files[f"counts{part.number}"] = self._keep(self.upkeep.counts(part), self._counts(part).schema)
                relation = self._counts(part, files[f"counts{part.number}"])
                groups = self._joined(groups, self._ask(self.upkeep.summaries(part), _counts=relation))
            if part.windowed:
                window = self._keep(self.upkeep.window(part), self._counts(part).schema, _groups=groups)
                files[f"window{part.number}"] = window
                groups = self._joined(groups, self._below(part, window))
        groups = groups.select(self.groups.names).cast(self.groups)
        files[GROUPS] = self._new((self.pieces.write(groups),))
        return Keeping(files, tuple(self.made), groups, groups.select(list(self.upkeep.keys)))

    def advance(self, files: Files, changes: pa.Table) -> Keeping:
        """The same after a change: `changes` has the rows that came (`_w` 1) and went (-1). Lost."""
        try:
            before = self.pieces.find(files[GROUPS], changes.select(list(self.upkeep.keys)), files.get(NUMBERS, ()))
        except pa.ArrowInvalid as error:  # an earlier version kept Parquet here
            raise Lost from error
        after = {**files}
        found: dict[str, Any] = {"_changes": changes, "_groups": before}
        for part in self.upkeep.parts:
            if part.counted or part.windowed:
                found[f"_x{part.number}"] = self._found(part, before, after, changes)
        advanced = self._with_quantiles(self._ask(self.upkeep.advanced(), **found), after)
        touched = self._again(advanced, after)
        keys = advanced.select(list(self.upkeep.keys))
        emptied = keys.filter(pc.equal(advanced.column("_n"), 0))
        if touched.num_rows + emptied.num_rows != keys.num_rows:
            raise Lost
        after[GROUPS] = self._new(self.pieces.grown(files[GROUPS], touched, emptied))
        numbers = self.pieces.numbered(after[GROUPS], files.get(NUMBERS, ()))
        after |= {NUMBERS: self._new((numbers,))} if numbers is not None else {}
        return Keeping(after, tuple(self.made), touched, keys)

    def _found(
        self, part: Part, before: pa.Table, files: dict[str, tuple[DataFile, ...]], changes: pa.Table
    ) -> pa.Table:
        """What the change means for one argument; its table of values gets a piece more."""
        differences = self._ask(self.upkeep.differences(part), _changes=changes)
        name = f"counts{part.number}" if part.counted else f"window{part.number}"
        known: dict[str, Any] = {"_differences": differences, "_groups": before}
        answer = self._ask(self.upkeep.found(part), _counts=self._counts(part, files[name]), **known)
        if part.counted and "distinct" in part.functions and any(answer.column("_bad").to_pylist()):
            raise Lost
        more = differences if part.counted else self._ask(self.upkeep.inside(part), **known)
        if more.num_rows:
            files[name] = self._piece(part, files[name], more)
        return answer

    def _piece(self, part: Part, files: tuple[DataFile, ...], more: pa.Table) -> tuple[DataFile, ...]:
        small = sum(file.rows for file in files[1:]) + more.num_rows < max(files[0].rows // 4, 1000) if files else False
        added = self._keep(f"SELECT {self.upkeep.by}, _v, _c FROM _more", self._counts(part).schema, _more=more)
        if small and len(files) < MOST_PIECES:
            return (*files, *added)
        pieces = self._counts(part, (*files, *added))
        return self._keep(self.upkeep.merged(), pieces.schema, _counts=pieces)

    def _with_quantiles(self, advanced: pa.Table, files: Files) -> pa.Table:
        """The advanced groups with their quantiles; those whose window does not hold it any more are stale."""
        for part in self.upkeep.parts:
            if not part.windowed:
                continue
            j, window = part.number, self._counts(part, files[f"window{part.number}"])
            columns = [f"a.{name}" for name in advanced.schema.names if name not in (f"_q{j}", "_stale")]
            text = (
                f"SELECT {', '.join(columns)}, c._q{j} AS _q{j}, "
                f"a._stale OR (a._c{j} > 0 AND c._q{j} IS NULL) AS _stale FROM _groups a "
                f"LEFT JOIN ({self.upkeep.central(part)}) c ON {self.upkeep.same('a', 'c')}"
            )
            advanced = self._ask(text, _groups=advanced, _counts=window)
        return advanced

    def _again(self, advanced: pa.Table, files: dict[str, tuple[DataFile, ...]]) -> pa.Table:
        """The groups that still have rows; stale ones computed again from the rows of the table."""
        if pc.any(pc.less(advanced.column("_n"), 0)).as_py():
            raise Lost
        alive = advanced.filter(pc.greater(advanced.column("_n"), 0))
        sound, stale = alive.filter(pc.invert(alive.column("_stale"))), alive.filter(alive.column("_stale"))
        fresh = self._with_edges(sound)
        if not stale.num_rows:
            return fresh
        again = self._ask(self.upkeep.build(), stale=stale)
        for part in self.upkeep.parts:
            if part.windowed:
                again = self._joined(again, self._new_window(part, again, stale, files))
        counted = ("_d", "_o")  # from counts that are exact whatever happened to the sums
        chosen = ", ".join(f"{'s' if name[:2] in counted else 'b'}.{name}" for name in self.groups.names)
        text = f"SELECT {chosen} FROM _b b JOIN _s s ON {self.upkeep.same('b', 's')}"
        computed = self._ask(text, _b=again, _s=stale)
        return pa.concat_tables([fresh, computed.cast(self.groups)])

    def _with_edges(self, advanced: pa.Table) -> pa.Table:
        """The groups with their lowest and highest values; looked up where those that were kept are gone."""
        worn = advanced.filter(advanced.column("_worn"))
        if not worn.num_rows:
            return advanced.select(self.groups.names).cast(self.groups)
        edges = self._ask(self.upkeep.edges(), stale=worn)
        if edges.num_rows != worn.num_rows:
            raise Lost
        chosen = ", ".join(f"{'e' if name in edges.schema.names else 'a'}.{name}" for name in self.groups.names)
        text = f"SELECT {chosen} FROM _a a JOIN _edges e ON {self.upkeep.same('a', 'e')}"
        mended = self._ask(text, _a=worn, _edges=edges).cast(self.groups)
        others = advanced.filter(pc.invert(advanced.column("_worn"))).select(self.groups.names).cast(self.groups)
        return pa.concat_tables([others, mended])

    def _new_window(
        self, part: Part, groups: pa.Table, stale: pa.Table, files: dict[str, tuple[DataFile, ...]]
    ) -> pa.Table:
        """New windows in the place of those of stale groups; answers how much lies below."""
        name = f"window{part.number}"
        made = self._ask(self.upkeep.window(part), _groups=groups, stale=stale)
        dropped = f"EXISTS (SELECT 1 FROM _stale t WHERE {self.upkeep.same('t', 'w')})"
        others = f"SELECT w.* FROM ({self.upkeep.merged()}) w WHERE NOT {dropped} UNION ALL SELECT * FROM _made"
        before = self._counts(part, files[name])
        files[name] = self._keep(others, before.schema, _counts=before, _stale=stale, _made=made)
        return self._below(part, Relation(made.schema, memory=made))

    def _below(self, part: Part, window: tuple[DataFile, ...] | Relation) -> pa.Table:
        relation = window if isinstance(window, Relation) else self._counts(part, window)
        text = f"SELECT {self.upkeep.by}, _c AS _b{part.number} FROM _counts WHERE _v IS NULL"
        return self._ask(text, _counts=relation)

    def _joined(self, groups: pa.Table, more: pa.Table) -> pa.Table:
        new = [name for name in more.schema.names if not name.startswith("_k")]
        values = [f"coalesce(m.{name}, 0) AS {name}" if name[:2] in ("_d", "_b") else f"m.{name}" for name in new]
        text = f"SELECT g.*, {', '.join(values)} FROM _groups g LEFT JOIN _more m ON {self.upkeep.same('g', 'm')}"
        return self._ask(text, _groups=groups, _more=more)

    def _most(self, largest_share: float) -> int:
        """Up to how many groups are worth keeping; 0 where a sample of the first rows says that there are more.

        How often two rows of a sample are of one group tells how large groups are, where these are spread over the
        table.
        """
        by = self.upkeep.by
        groups = f"SELECT {by}, count(*) AS _c FROM (SELECT {by} FROM _rows LIMIT {_SAMPLE}) s GROUP BY {by}"
        text = f"SELECT coalesce(sum(_c), 0) AS n, count(*) AS k, sum(_c * (_c - 1)) AS pairs FROM ({groups}) g"
        (row,) = self._ask(text).to_pylist()
        n = int(row["n"])
        if row["k"] <= largest_share * n:
            return _MOST_GROUPS
        if any(part.counted or part.windowed for part in self.upkeep.parts):
            return 0
        rows = max([n, *(relation.rows for relation in self.view.relations.values())])
        size = 1 + float(row["pairs"]) * rows / n**2
        return _MOST_SUMS if size >= _SMALLEST and rows / size <= _MOST_SUMS else 0

    def _counts(self, part: Part, files: tuple[DataFile, ...] = ()) -> Relation:
        keys = [self.schema.field(key) for key in self.upkeep.keys]
        value = self.schema.field(f"_a{part.number}").with_name("_v")
        return Relation(pa.schema([*keys, value, pa.field("_c", pa.int64())]), files)

    @cached_property
    def groups(self) -> pa.Schema:
        """The columns of what is kept of each group."""
        keys = [self.schema.field(key) for key in self.upkeep.keys]
        kept = [
            pa.field(name, kind or self.schema.field(f"_a{part.number}").type)
            for part in self.upkeep.parts
            for name, kind in kept_columns(part)
        ]
        return pa.schema([*keys, pa.field("_n", pa.int64()), *kept])

    @cached_property
    def pieces(self) -> Pieces:
        """Where that is kept."""
        return Pieces(self.view.place, self.groups, self.upkeep.keys, self._stream)

    def _new(self, files: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
        self.made.append(files[-1])
        return files

    def _keep(self, text: str, schema: pa.Schema, **tables: pa.Table | Relation) -> tuple[DataFile, ...]:
        target = WriteTarget(self.view.place.name, self.view.place.location, schema, compression="snappy")
        files = self.engine.stage(Work(self._query(text, **tables), target)).add
        self.made.extend(files)
        return files

    def _ask(self, text: str, **tables: pa.Table | Relation) -> pa.Table:
        return self._stream(text, **tables).read_all()

    def _stream(self, text: str, **tables: pa.Table | Relation) -> pa.RecordBatchReader:
        return self.engine.read(self._query(text, **tables))

    def _query(self, text: str, stale: pa.Table | None = None, **tables: pa.Table | Relation) -> Query:
        tree = _parsed(text).copy()
        for table in [table for table in tree.find_all(exp.Table) if table.name == "_rows"]:
            table.replace(self._restricted(self.view.kept.rows(), stale).subquery(table.alias or "_rows"))
        given = {**tables, **({"_again": stale} if stale is not None else {})}
        relations = {
            name: value if isinstance(value, Relation) else Relation(value.schema, memory=value)
            for name, value in given.items()
        }
        assert isinstance(tree, exp.Query)
        return Query(tree, {**self.view.relations, **relations}, self.view.now, self.view.origin)

    def _restricted(self, rows: exp.Select, stale: pa.Table | None) -> exp.Query:
        if stale is None:
            return rows
        listed = sqlglot.parse_one(f"SELECT 1 FROM _again s WHERE {self.upkeep.same('s', 'r')}", read="spark")
        return exp.select("*").from_(rows.subquery("r")).where(exp.Exists(this=listed))


@lru_cache(maxsize=256)
def _parsed(text: str) -> exp.Expr:
    """The tree of a query, which nobody may change: views have the same ones at every run."""
    return sqlglot.parse_one(text, read="spark")


def keeper(engine: Engine, view: View) -> Keeper | None:
    """What can keep a view; None where types forbid it."""
    try:
        schema = engine.schema(Query(view.kept.rows(), view.relations, view.now, view.origin))
    except (PipelineTypeError, UntranslatableFunction):
        return None
    parts = [part_of(view.kept, number, schema) for number in range(len(view.kept.arguments))]
    known = [part for part in parts if part is not None]
    return Keeper(engine, view, Upkeep(view.kept, known), schema) if len(known) == len(parts) else None


def final_query(view: View, upkeep: Upkeep, groups: pa.Table) -> Query:
    """The view's own rows, out of what is kept of the groups."""
    tree = view.kept.final.copy()
    results = {name: sqlglot.parse_one(text, read="spark") for name, text in upkeep.final().items()}
    for column in list(tree.find_all(exp.Column)):
        if column.name in results:
            column.replace(exp.paren(results[column.name].copy()))
    relations = {"_groups": Relation(groups.schema, memory=groups)}
    return Query(tree, relations, view.now, view.origin)


def weighed(came: pa.Table, went: pa.Table) -> pa.Table:
    """Rows that came and rows that went in one table, told apart by `_w`."""
    sides = ((came, 1), (went, -1))
    return pa.concat_tables([side.append_column("_w", pa.array([w] * side.num_rows, pa.int64())) for side, w in sides])
