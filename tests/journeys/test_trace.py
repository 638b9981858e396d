"""Rows traced down to the records they came from, against a model of a few lines: any batches, both formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from datalab.engine.base import Engine, Query, Replace, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.events import Bus
from datalab.lake.lake import Lake, open_lake
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, Relation, TableSpec
from datalab.lineage.descent import Descent
from datalab.lineage.flows import Flows
from datalab.lineage.rows import Tables
from datalab.lineage.tree import Row, positions
from datalab.names import TableName
from datalab.pipelines.graph import Graph, build_graph
from datalab.pipelines.parse import parse_sql
from datalab.pipelines.run import RunOptions
from datalab.platform.runs import Wish, Workload, new_context, run

PEDIDOS = TableName.parse("bronze.pedidos")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("versao", pa.int64()),
        ("uf", pa.string()),
        ("valor", pa.int64()),
        ("quando", pa.int64()),
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
    ]
)
SILVER = """
    CREATE TEMPORARY VIEW recebidos AS
      SELECT id, CASE WHEN quando BETWEEN 0 AND 4102444800000 THEN timestamp_millis(quando) END AS quando,
        lower(uf) AS uf, valor, current_timestamp() AS processado, versao
      FROM STREAM bronze.pedidos WHERE valor <> 5;
    CREATE STREAMING TABLE silver.pedidos (CONSTRAINT valor_possivel EXPECT (valor >= 0) ON VIOLATION DROP ROW);
    CREATE FLOW atualiza AS AUTO CDC INTO silver.pedidos FROM STREAM recebidos
      KEYS (id, quando) SEQUENCE BY versao COLUMNS * EXCEPT (versao);
"""
GOLD = """
    CREATE MATERIALIZED VIEW gold.por_uf AS
      SELECT upper(uf) AS sigla, count(*) AS n, sum(valor) AS total FROM silver.pedidos GROUP BY upper(uf);
    CREATE MATERIALIZED VIEW gold.grandes AS SELECT sigla, total FROM gold.por_uf WHERE n > 1;
"""
ROWS = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abc"),
        "versao": st.integers(0, 4),
        "uf": st.sampled_from(["SP", "MT", "mt", None]),
        "valor": st.integers(-1, 6),
        "quando": st.sampled_from([-1, 0, 86_400_000]),
    }
)
BATCHES = st.lists(st.lists(ROWS, max_size=7), min_size=1, max_size=3)
Record = dict[str, Any]


class Shop:
    """A lake with a bronze table that is fed by hand, and flows behind it."""

    def __init__(self, lake: Lake, engine: Engine, sql: str, known: Sequence[TableName] = (PEDIDOS,)) -> None:
        self.lake, self.engine = lake, engine
        self.graph: Graph = build_graph(parse_sql(sql, "p.sql"), set(known))
        self.delivered: list[Record] = []

    def deliver(self, rows: Sequence[Mapping[str, Any]], table: TableName = PEDIDOS) -> None:
        """A file of so many records, in one commit."""
        file = f"landing/{table.table}-{len(self.delivered):04}.jsonl"
        records = [{**row, "source_file": file, "source_row": number} for number, row in enumerate(rows)]
        self.delivered.extend(records)
        self.lake.define(table, TableSpec(SCHEMA))
        self.commit(table, records, "append")

    def commit(self, table: TableName, records: Sequence[Record], kind: str) -> None:
        """Rows by hand: appended, or (compact) the table's own rows in other files."""
        state = self.lake.require(table)
        current = self.lake.files(state)
        memory = Relation(SCHEMA, memory=pa.Table.from_pylist(list(records), schema=SCHEMA))
        source = current if kind == "compact" else memory
        query = Query(exp.select("*").from_("rows"), {"rows": source}, datetime.now(UTC))
        mode = {"mode": Replace(), "current": current} if kind == "compact" else {}
        staged = self.engine.stage(Work(query, state.target(), **mode))
        self.lake.commit(state, Change(Provenance("test", "hand", kind, written=len(records)), staged.add, staged.remove))

    def run(self) -> None:
        context = new_context(self.lake, self.engine)
        record = run(context, Workload((), self.graph), Wish(), Bus(), RunOptions(context.run_id, retries=0))
        assert not record.failed, [result.error for result in record.failed]

    def rows(self, table: str) -> list[Record]:
        """All rows of a table, without the internal columns."""
        state = self.lake.require(TableName.parse(table))
        query = Query(exp.select("*").from_(table), {table: self.lake.files(state)}, datetime.now(UTC))
        return self.engine.read(query).read_all().to_pylist()

    def trace(self, table: str, limit: int = 0, snapshot: int | None = None, **keys: Any) -> tuple[Row, ...]:
        """The rows of a table with these values, traced down."""
        tables = Tables(self.lake, self.engine, datetime.now(UTC))
        name = TableName.parse(table)
        schema = tables.state(name).schema
        wanted = pa.table({key: pa.array([value], schema.field(key).type) for key, value in keys.items()})
        descent = Descent(tables, Flows(self.graph, tables), limit)
        return descent.rows(tables.at(name, snapshot), wanted)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    yield engine
    engine.close()


def entered(record: Record) -> bool:
    """Whether silver's flow reads a record at all."""
    return record["valor"] != 5


def key(record: Record) -> tuple[Any, ...]:
    """The key of silver that a record has."""
    return record["id"], record["quando"] if record["quando"] >= 0 else None


def place(record: Record) -> str:
    return f"{record['source_file']}:{record['source_row']}"


def events_of(shop: Shop, wanted: tuple[Any, ...]) -> list[Record]:
    return [record for record in shop.delivered if entered(record) and key(record) == wanted]


def winner(events: Sequence[Record]) -> tuple[Any, ...]:
    """What the highest version says; of equal ones the greatest row, NULL lowest."""
    kept = [record for record in events if record["valor"] >= 0]
    best = max(kept, key=lambda r: (r["versao"], r["uf"] is not None, (r["uf"] or "").lower(), r["valor"]))
    return best["versao"], (best["uf"] or "").lower(), best["valor"]


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
@settings(max_examples=10, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(batches=BATCHES)
def test_a_trace_finds_all_records_of_a_row_and_no_others(engine, table_format, batches):
    with TemporaryDirectory() as folder:
        shop = Shop(open_lake(table_format, str(Path(folder) / "lake")), engine, SILVER + GOLD)
        for batch in batches:
            shop.deliver(batch)
            shop.run()
        silver = shop.rows("silver.pedidos")
        for row in shop.rows("gold.por_uf"):
            (traced,) = shop.trace("gold.por_uf", sigla=row["sigla"])
            (read,) = traced.reads
            group = [each for each in silver if (each["uf"] or "").upper() == (row["sigla"] or "")]
            assert read.total == len(read.rows) == len(group) == row["n"]
            for each in read.rows:
                _check_events(shop, each)
        for row in shop.rows("gold.grandes"):
            (traced,) = shop.trace("gold.grandes", sigla=row["sigla"])
            (below,) = shop.trace("gold.por_uf", sigla=row["sigla"])
            assert [*positions(traced)] == [*positions(below)]


def _check_events(shop: Shop, row: Row) -> None:
    moment = row.keys["quando"]
    wanted = row.keys["id"], None if moment is None else int(moment.timestamp() * 1000)
    events = events_of(shop, wanted)
    (read,) = row.reads
    assert sorted(each.position for each in read.rows) == sorted(map(place, events))
    best = winner(events)
    by_place = {place(record): record for record in events}
    for each in read.rows:
        record = by_place[each.position]
        same = (record["versao"], (record["uf"] or "").lower(), record["valor"]) == best
        expected = "set aside" if record["valor"] < 0 else "kept" if same else "superseded"
        assert each.status.startswith(expected), (each.status, record)
    assert [each.status for each in read.rows].count("kept") == 1
