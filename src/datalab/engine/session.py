"""One piece of work inside DuckDB: a connection of its own, views over relations, scratch space, translated errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import duckdb
from sqlglot import exp

from datalab.engine.alike import require_alike
from datalab.engine.base import Query
from datalab.engine.dialect import sql_of, translate
from datalab.engine.dialect.maps import mark_maps
from datalab.engine.dialect.reals import widen_reals
from datalab.engine.faults import fault, translated
from datalab.engine.macros import Macros
from datalab.engine.mistakes import mistake, require_distinct
from datalab.engine.relations import FILE, ROW, casts, columns, file_rows, literal, memory_rows, quoted
from datalab.engine.sources import Source, mentioned, require_known, substitute, table_names
from datalab.lake.recent import Recent
from datalab.lake.table import Relation
from datalab.names import is_internal

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 100_000
TOMBSTONE = "__deleted"
# The columns that a query answers follow from its text and the columns of what it reads.
_DESCRIBED = Recent[tuple[Any, ...], list[tuple[str, str]]](256)


class Session:
    """What one call of the engine needs of DuckDB; leaving it drops every view and temporary table it made.

    `again` opens another one, for what is asked later.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        macros: Macros,
        scratch: Path,
        again: Callable[[], Session],
        origin: str = "",
    ) -> None:
        self._connection = connection
        self._macros = macros
        self._scratch = scratch
        self._views = 0
        self._sources: list[tuple[Any, ...]] = []
        self.origin = origin
        self.again = again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run one statement."""
        with translated(self.origin):
            return self._run(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query as Python values; moments in time come as UTC."""
        table = self.arrow(sql)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if table.num_columns else []

    def arrow(self, sql: str) -> pa.Table:
        """The rows of a query as an Arrow table."""
        with translated(self.origin):
            return self._run(sql).to_arrow_table()

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """The rows of a query in batches, computed as they are fetched."""
        with translated(self.origin):
            return self._run(sql).to_arrow_reader(_BATCH_ROWS)

    def translating(self) -> AbstractContextManager[None]:
        """A block in which errors of DuckDB become ours."""
        return translated(self.origin)

    def copy(self, rows: str, folder: Path, options: str) -> list[tuple[Any, ...]]:
        """Write a query's rows to Parquet files in a folder; answers what RETURN_STATS says of each file."""
        with translated(self.origin):
            return self._run(
                f"COPY ({rows}) TO {literal(str(folder))} (FORMAT parquet, RETURN_STATS, APPEND, "
                f"FILENAME_PATTERN 'dl-{{uuid}}', {options})"
            ).fetchall()

    def bind(self, query: Query) -> tuple[str, dict[str, str]]:
        """The query in DuckDB's SQL, and its columns with their types. PipelineTypeError."""
        tree = self._compiled(query)
        rows = sql_of(tree)
        try:
            described = _DESCRIBED.get((rows, *self._sources), lambda: self._described(rows))
            require_alike(tree, lambda side: [kind for _, kind in self._described(side)], query.origin)
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ConversionException) as error:
            raise mistake(error, query) from error
        except duckdb.Error as error:
            raise fault(error, query.origin) from error
        require_distinct([name for name, _ in described], query.origin)
        return rows, dict(described)

    def new_name(self, stem: str) -> str:
        """A name no view or table of this session has yet."""
        self._views += 1
        return f"__{stem}_{self._views}"

    def view(self, sql: str) -> str:
        """Give a query a name; the answer is the quoted name."""
        name = quoted(self.new_name("view"))
        self.execute(f"CREATE TEMP VIEW {name} AS {sql}")
        return name

    def table(self, sql: str) -> str:
        """Compute a query once, into a temporary table that may spill; the answer is the quoted name."""
        name = quoted(self.new_name("table"))
        self.execute(f"CREATE TEMP TABLE {name} AS {sql}")
        return name

    def folder(self) -> Path:
        """A new empty folder in the engine's scratch space, removed with the engine."""
        return self._scratch / uuid4().hex

    def relation(self, relation: Relation) -> str:
        """A query over all columns of a relation, internal ones and tombstones included."""
        if relation.scan is not None:
            return casts(relation.schema, self._scanned(relation.scan(), relation.schema))
        if relation.memory is not None:
            return memory_rows(relation.schema, self.registered(relation.memory))
        return file_rows(relation.schema, relation.files, position=relation.located)

    def compile(self, query: Query) -> str:
        """The query in DuckDB's SQL, over views of its relations. UntranslatableFunction, UnknownTable."""
        return sql_of(self._compiled(query))

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        self._macros.require(sql)
        return self._connection.execute(sql)

    def _described(self, sql: str) -> list[tuple[str, str]]:
        return [(name, kind) for name, kind, *_ in self._run(f"DESCRIBE {sql}").fetchall()]

    def _compiled(self, query: Query) -> exp.Expr:
        schemas = [relation.schema for relation in query.relations.values()]
        tree = translate(mark_maps(widen_reals(query.tree, schemas), schemas), query.now, query.origin)
        relations = {name.lower(): relation for name, relation in query.relations.items()}
        shown = mentioned(tree)
        require_known(tree, relations, query.origin)
        substitute(tree, {name: self._source(relations[name], shown) for name in table_names(tree)})
        return tree

    def _source(self, relation: Relation, shown: frozenset[str]) -> Source:
        names = [*relation.schema.names, *([FILE, ROW] if relation.located else [])]
        hidden = tuple(name for name in names if is_internal(name) and name.lower() in shown)
        kept = [name for name in names if not is_internal(name) or name in hidden]
        rows = self.relation(relation)
        alive = f" WHERE {quoted(TOMBSTONE)} IS NOT TRUE" if TOMBSTONE in names else ""
        view = self.view(f"SELECT {columns(kept)} FROM ({rows}){alive}")
        self._sources.append((view, *kept, *((field.name, str(field.type)) for field in relation.schema)))
        return Source(view.strip('"'), hidden)

    def registered(self, table: pa.Table) -> str:
        """Let queries of this session read an Arrow table; the answer is the quoted name."""
        name = self.new_name("memory")
        with translated(self.origin):
            self._connection.register(name, table)
        return quoted(name)

    def _scanned(self, rows: pa.RecordBatchReader, schema: pa.Schema) -> str:
        """A scan can be read once, a query may read its relation twice: so its rows are kept in a table."""
        name = self.new_name("scan")
        with translated(self.origin):
            self._connection.register(name, rows)
        copy = self.table(casts(schema, quoted(name)))
        with translated(self.origin):
            self._connection.unregister(name)
        return copy


def empty(query: Query) -> Query:
    """The same query over relations without rows, for binding."""
    relations: Mapping[str, Relation] = {name: Relation(value.schema) for name, value in query.relations.items()}
    return Query(query.tree, relations, query.now, query.origin)
