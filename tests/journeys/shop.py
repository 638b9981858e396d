"""A lake with one bronze table that is fed by hand, and the pipelines behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlglot import exp
from tests.declared import parse_sql

from datalab.engine.base import Engine, Query, Work
from datalab.events import Bus
from datalab.lake.lake import Lake
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, Relation, TableSpec
from datalab.names import TableName
from datalab.pipelines.context import new_context
from datalab.pipelines.graph import Graph, build_graph
from datalab.pipelines.records import RunRecord
from datalab.pipelines.run import RunOptions
from datalab.platform.queries import ask
from datalab.platform.runs import Workload, run
from datalab.platform.wish import Wish

PEDIDOS = TableName.parse("bronze.pedidos")
SCHEMA = pa.schema([("id", pa.string()), ("versao", pa.int64()), ("uf", pa.string()), ("valor", pa.int64())])
Row = dict[str, Any]


class Shop:
    """A lake with one bronze table that is fed by hand."""

    def __init__(self, lake: Lake, engine: Engine, sql: str, schema: pa.Schema = SCHEMA, keep: float = 9) -> None:
        self.lake, self.engine, self.schema, self.keep = lake, engine, schema, keep
        self.graph: Graph = build_graph(parse_sql(sql, "p.sql"), {PEDIDOS})
        lake.define(PEDIDOS, TableSpec(schema))

    def add(self, rows: Sequence[Row]) -> None:
        state = self.lake.require(PEDIDOS)
        memory = Relation(self.schema, memory=pa.Table.from_pylist(list(rows), schema=self.schema))
        query = Query(exp.select("*").from_("rows"), {"rows": memory}, datetime.now(UTC))
        staged = self.engine.stage(Work(query, state.target()))
        self.lake.commit(state, Change(Provenance("test", "hand", "append", written=len(rows)), staged.add))

    def run(self, wish: Wish = Wish()) -> RunRecord:  # noqa: B008 - frozen
        context = replace(new_context(self.lake, self.engine), keep=self.keep)
        record = run(context, Workload((), self.graph), wish, Bus(), RunOptions(context.run_id, retries=0))
        assert not record.failed, [result.error for result in record.failed]
        return record

    def rows(self, table: str) -> list[Row]:
        found: list[Row] = (
            ask(self.lake, self.engine, f"SELECT * FROM {table}", datetime.now(UTC)).read_all().to_pylist()
        )
        return found
