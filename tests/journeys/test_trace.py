"""Rows traced down to the records they came from, against a model of a few lines: any batches, both formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp
from tests.declared import parse_sql

from datalab.engine.base import Engine, Query, Replace, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import InvalidKey, RecordNotFound
from datalab.events import Bus
from datalab.features.views import Definitions, FeatureView, TrainingSetSpec
from datalab.lake.lake import Lake, open_lake
from datalab.lake.provenance import Provenance, Range
from datalab.lake.table import Change, Relation, TableSpec
from datalab.lineage.ascent import Ascent
from datalab.lineage.back import Place, reached
from datalab.lineage.descent import Descent
from datalab.lineage.flows import Flows
from datalab.lineage.rows import Tables
from datalab.lineage.scores import Score, recorded_score, trace_score
from datalab.lineage.tree import Row, positions
from datalab.lineage.uses import uses_of
from datalab.names import TableName
from datalab.pipelines.context import new_context
from datalab.pipelines.graph import Graph, build_graph
from datalab.pipelines.run import RunOptions
from datalab.platform.runs import Workload, run
from datalab.platform.wish import Wish
from datalab.serving.flush import SCHEMAS, SCORES

PEDIDOS, VENDAS = TableName.parse("bronze.pedidos"), TableName.parse("bronze.vendas")
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
MODELS = pa.schema(
    [
        ("at", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("model", "action", "by", "why", "training_set", "metrics")),
        ("version", pa.int32()),
    ]
)
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
        provenance = Provenance("test", "hand", kind, written=len(records))
        self.lake.commit(state, staged.change(provenance))

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
        return descent.rows(tables.at(name, snapshot), wanted).rows

    def put(self, table: str, rows: pa.Table, provenance: Provenance | None = None) -> int:
        """A table with these rows; answers its snapshot."""
        name = TableName.parse(table)
        state = self.lake.define(name, TableSpec(rows.schema))
        query = Query(exp.select("*").from_("rows"), {"rows": Relation(rows.schema, memory=rows)}, datetime.now(UTC))
        staged = self.engine.stage(Work(query, state.target()))
        made = provenance or Provenance("test", "hand", "append", written=rows.num_rows)
        snapshot = self.lake.commit(state, Change(made, staged.add)).snapshot
        assert snapshot is not None
        return snapshot

    def score(self, score_id: str) -> Score:
        """A score, traced."""
        tables = Tables(self.lake, self.engine, datetime.now(UTC))
        record = recorded_score(tables, score_id)
        assert record is not None
        return trace_score(Descent(tables, Flows(self.graph, tables), 10), record)

    def back(self, place: str, definitions: Definitions = Definitions()) -> Row:  # noqa: B008 - frozen
        """The one bronze row of a source position, traced up."""
        tables = Tables(self.lake, self.engine, datetime.now(UTC))
        ascent = Ascent(tables, Flows(self.graph, tables), 10, uses_of(definitions))
        (row,) = reached(tables, ascent, [PEDIDOS], Place.parse(place)).rows
        return row


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
@settings(max_examples=5, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(batches=BATCHES)
def test_a_trace_finds_all_records_of_a_row_and_no_others(engine, table_format, batches):
    with TemporaryDirectory() as folder, patch("datalab.lineage.rows._FEW_FILES", 0):  # as in a table of many files
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


RECORD = {"id": "a", "versao": 1, "uf": "SP", "valor": 1, "quando": 0}


@pytest.fixture(params=["iceberg", "delta"])
def shop_of(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Callable[[str], Shop]:
    lake = open_lake(request.param, str(tmp_path / "lake"))
    return lambda sql: Shop(lake, engine, sql, (PEDIDOS, VENDAS))


def test_each_table_is_read_at_the_snapshot_that_the_commit_recorded_also_after_compaction(shop_of):
    shop = shop_of(SILVER + GOLD)
    shop.deliver([RECORD, {**RECORD, "id": "b"}])
    shop.run()
    early = shop.lake.require(TableName.parse("gold.por_uf")).snapshot
    shop.deliver([{**RECORD, "versao": 2, "uf": "MT"}])
    shop.commit(PEDIDOS, [], "compact")
    shop.commit(TableName.parse("silver.pedidos"), [], "compact")
    (before,) = shop.trace("gold.por_uf", sigla="SP")
    assert [*positions(before)] == ["landing/pedidos-0000.jsonl:0", "landing/pedidos-0000.jsonl:1"]
    shop.run()
    (now,) = shop.trace("gold.por_uf", sigla="MT")
    assert [*positions(now)] == ["landing/pedidos-0000.jsonl:0", "landing/pedidos-0002.jsonl:0"]
    (event, winner) = now.reads[0].rows[0].reads[0].rows
    assert (event.status, winner.status) == ("superseded", "kept")
    (again,) = shop.trace("gold.por_uf", snapshot=early, sigla="SP")
    assert [*positions(again)] == [*positions(before)]
    assert again.reads[0].snapshot == before.reads[0].snapshot


def test_joins_unions_and_chains_of_views(shop_of):
    shop = shop_of(
        """
        CREATE MATERIALIZED VIEW silver.juntos AS
          SELECT p.id, p.valor, v.valor AS pago FROM bronze.pedidos p LEFT JOIN bronze.vendas v ON p.id = v.id;
        CREATE MATERIALIZED VIEW silver.todos AS
          SELECT id, 'pedido' AS de FROM bronze.pedidos UNION ALL SELECT id, 'venda' FROM bronze.vendas;
        CREATE MATERIALIZED VIEW gold.soma AS SELECT sum(valor) AS total FROM bronze.pedidos;
        CREATE MATERIALIZED VIEW gold.pagos AS
          SELECT id FROM silver.juntos WHERE id IN (SELECT id FROM bronze.vendas)
        """
    )
    shop.deliver([RECORD, {**RECORD, "id": "b"}, {**RECORD, "id": "c", "valor": 9}])
    shop.deliver([{**RECORD, "id": "b", "valor": 7}], VENDAS)
    shop.run()
    (joined,) = shop.trace("silver.juntos", id="b")
    assert {read.table: [*map(places_below, read.rows)] for read in joined.reads} == {
        "bronze.pedidos": [["landing/pedidos-0000.jsonl:1"]],
        "bronze.vendas": [["landing/vendas-0003.jsonl:0"]],
    }
    (alone,) = shop.trace("silver.juntos", id="c")
    assert [read.table for read in alone.reads] == ["bronze.pedidos"]
    of_pedido, of_venda = (shop.trace("silver.todos", id="b", de=de)[0] for de in ("pedido", "venda"))
    assert [read.table for read in of_pedido.reads] == ["bronze.pedidos"]
    assert [read.table for read in of_venda.reads] == ["bronze.vendas"]
    (paid,) = shop.trace("gold.pagos", id="b")
    assert [*positions(paid)] == ["landing/pedidos-0000.jsonl:1", "landing/vendas-0003.jsonl:0"]
    assert "it is read in a subquery" in paid.reads[1].notes
    (total,) = shop.trace("gold.soma", total=11)
    (read,) = total.reads
    assert (read.total, read.rows) == (None, ())
    assert read.notes[0].startswith("cannot be followed: the query sums up all of its rows; it read 3 rows at snapshot")


def test_what_is_shown_is_limited_and_what_is_counted_is_not(shop_of):
    shop = shop_of(SILVER + GOLD)
    shop.deliver([{**RECORD, "id": f"{n:05}"} for n in range(2500)])
    shop.run()
    (few,) = shop.trace("gold.por_uf", limit=3, sigla="SP")
    assert (few.reads[0].total, len(few.reads[0].rows)) == (2500, 3)
    assert all(row.reads[0].total == 1 for row in few.reads[0].rows)
    (every,) = shop.trace("gold.por_uf", sigla="SP")
    assert len([*positions(every)]) == 2500


def test_a_changed_query_and_a_flow_that_is_gone_are_said(shop_of):
    shop = shop_of(SILVER + GOLD)
    shop.deliver([RECORD])
    shop.run()
    changed = Shop(shop.lake, shop.engine, SILVER + GOLD.replace("sum(valor)", "max(valor)"), (PEDIDOS,))
    (row,) = changed.trace("gold.por_uf", sigla="SP")
    assert row.reads[0].notes == ("the query has changed since: followed as it is now",)
    assert [*positions(row)] == ["landing/pedidos-0000.jsonl:0"]
    gone = Shop(shop.lake, shop.engine, SILVER, (PEDIDOS,))
    (row,) = gone.trace("gold.por_uf", sigla="SP")
    (read,) = row.reads
    assert read.notes[0].startswith("cannot be followed: gold.por_uf is not among the project's flows; it read silver")


def test_back_from_a_record_to_all_that_it_reached_and_why_no_further(shop_of):
    shop = shop_of(SILVER + GOLD)
    shop.deliver([RECORD, {**RECORD, "versao": 2, "valor": 3}, {**RECORD, "valor": -1}, {**RECORD, "valor": 5}])
    shop.run()
    shop.deliver([RECORD])
    file = "landing/pedidos-0000.jsonl"
    lost, won, refused, left_out = (shop.back(f"{file}:{number}") for number in range(4))
    assert [(read.table, read.total, [row.status for row in read.rows]) for read in lost.reads] == [
        ("silver.pedidos", 1, ["superseded"])
    ]
    assert lost.reads[0].rows[0].reads == ()
    (silver,) = won.reads[0].rows
    assert silver.status == "kept"
    assert [(read.table, read.rows[0].keys) for read in silver.reads] == [("gold.por_uf", {"sigla": "SP"})]
    assert [(read.table, read.total) for read in silver.reads[0].rows[0].reads] == [("gold.grandes", 0)]
    assert silver.reads[0].rows[0].reads[0].notes == ("left out by n > 1",)
    assert refused.reads[0].notes == ("set aside: valor_possivel",)
    assert left_out.reads[0].notes == ("left out by valor <> 5",)
    fresh = shop.back("landing/pedidos-0004.jsonl:0")
    assert fresh.reads[0].rows[0].status == "superseded"
    with pytest.raises(RecordNotFound) as none:
        shop.back(f"{file}:9")
    assert none.value.hint == "the last record of it that is in a table is 3"
    with pytest.raises(RecordNotFound) as none:
        shop.back("pedidos-0000.jsonl:0")
    assert none.value.hint == f"did you mean {file}?"
    with pytest.raises(InvalidKey, match="is not a place in a source"):
        shop.back(file)


SCORED = {"table": "gold.por_uf", "timestamp": "1970-01-01T00:00:00Z", "entity": {"sigla": "SP"}}


def test_a_score_leads_to_its_model_training_set_and_records(shop_of):
    shop = shop_of(SILVER + GOLD)
    shop.deliver([RECORD, {**RECORD, "id": "b", "valor": 4}])
    shop.run()
    gold = shop.lake.require(TableName.parse("gold.por_uf")).snapshot
    silver = shop.lake.require(TableName.parse("silver.pedidos")).snapshot
    details = {"training_set": {"seed": 7, "content_hash": "abc", "rows": 2}}
    made = Provenance("r", "compras", "replace", inputs={"silver.pedidos": Range(None, silver)}, details=details)
    trained = shop.put("training.compras", pa.table({"id": ["a", "b"]}), made)
    history = {"at": datetime(2026, 1, 2, tzinfo=UTC), "model": "compras", "version": 3, "action": "promoted"}
    shop.put("ops.models", table_of(MODELS, [{**history, "training_set": f"compras@{trained}", "by": "ana"}]))
    used = {
        "estado": {**SCORED, "snapshot": gold, "values": {"n": 2, "total": 5}},
        "outro": {**SCORED, "snapshot": gold, "values": {"total": 99}},
        "nenhum": None,
    }
    score = {"score_id": "s-1", "model": "compras", "model_version": 3, "score": 700, "features": json.dumps(used)}
    shop.put("ops.scores", table_of(SCHEMAS[SCORES], [score, {**score, "score_id": "s-2", "model_version": 9}]))
    shop.deliver([{**RECORD, "id": "c"}])
    shop.run()
    found, unknown = shop.score("s-1"), shop.score("s-2")
    assert found.model.training_set is not None
    assert (found.model.training_set.table, found.model.training_set.snapshot) == ("training.compras", trained)
    assert (found.model.training_set.inputs, found.model.training_set.details["seed"]) == (
        {"silver.pedidos": silver},
        7,
    )
    assert [entry["by"] for entry in found.model.history] == ["ana"]
    served, other, missing = found.features
    assert (served.snapshot, served.differs) == (gold, {})
    assert served.rows[0].values["n"] == 2
    assert [*positions(served.rows[0])] == ["landing/pedidos-0000.jsonl:0", "landing/pedidos-0000.jsonl:1"]
    assert other.differs == {"total": 99}
    assert missing.note == "not found for this score: unknown or expired"
    assert unknown.model.note == "ops.models does not say what it was trained on"


def test_back_to_the_training_rows_models_and_scores_that_used_a_row(shop_of):
    shop = shop_of(SILVER + GOLD)
    shop.deliver([RECORD, {**RECORD, "id": "b", "uf": "MT"}])
    shop.run()
    view = FeatureView("estado", TableName.parse("gold.por_uf"), ("sigla",), "total")
    labels = TrainingSetSpec("compras", "", "momento", "caro", {"estado": ("uf",)})
    definitions = Definitions({"estado": view}, {"compras": labels})
    assert [read.table for read in gold_of(shop, definitions).reads] == ["gold.grandes"]
    rows = pa.table({"uf": ["SP", "MT", "SP"], "momento": [1, 2, 3], "caro": [True, False, True]})
    trained = shop.put("training.compras", rows)
    entry = {"model": "compras", "version": 3, "action": "promoted", "training_set": f"compras@{trained}"}
    shop.put("ops.models", table_of(MODELS, [entry, {**entry, "action": "retired"}]))
    scores = [
        {"score_id": f"s-{uf}", "model": "compras", "model_version": 3,
         "features": json.dumps({"estado": {"entity": {"sigla": uf}}, "outro": None})}
        for uf in ("SP", "MT")
    ]  # fmt: skip
    shop.put("ops.scores", table_of(SCHEMAS[SCORES], scores))
    _, scored, learnt = gold_of(shop, definitions).reads
    assert [(row.keys, row.status) for row in scored.rows] == [({"score_id": "s-SP"}, "by compras version 3")]
    assert [row.keys["momento"] for row in learnt.rows] == [1, 3]
    unsure = "whether the record had come by then cannot be told any more"
    assert learnt.notes == (f"compras version 3 learnt from compras@{trained}: {unsure}",)


def test_back_names_only_what_was_made_after_the_record_had_come(shop_of):
    """Training sets and scores tell by the snapshots that they recorded, models by the training set that they had."""
    shop = shop_of(SILVER + GOLD)
    view = FeatureView("estado", TableName.parse("gold.por_uf"), ("sigla",), "total")
    labels = TrainingSetSpec("compras", "", "momento", "caro", {"estado": ("uf",)})
    definitions = Definitions({"estado": view}, {"compras": labels})
    shop.deliver([RECORD])
    shop.run()
    early = used_by_all(shop, version=1)
    shop.deliver([{**RECORD, "id": "b"}])  # in bronze, and not further
    between = used_by_all(shop, version=2)
    first, second = (f"landing/pedidos-{number:04}.jsonl:0" for number in (0, 1))
    _, scored, learnt = gold_of(shop, definitions, first).reads
    assert [row.keys["score_id"] for row in scored.rows] == ["s-1", "s-2"]
    told = [f"compras version {n} learnt from compras@{each}" for n, each in ((1, early), (2, between))]
    assert (learnt.total, learnt.notes) == (2, tuple(told))
    shop.run()
    _, scored, learnt = gold_of(shop, definitions, second).reads
    assert (scored.total, scored.rows) == (0, ())
    assert (learnt.total, learnt.rows, learnt.notes) == (0, (), ("made before the record had come",))
    late = used_by_all(shop, version=3)
    _, scored, learnt = gold_of(shop, definitions, second).reads
    assert [row.keys["score_id"] for row in scored.rows] == ["s-3"]
    assert learnt.notes == (f"compras version 3 learnt from compras@{late}",)
    assert len(gold_of(shop, definitions, first).reads[1].rows) == 3


def used_by_all(shop: Shop, version: int) -> int:
    """One more row in the training set, a model that learnt from it, and a score, from the tables as they are."""
    gold, silver = (shop.lake.require(TableName.parse(name)).snapshot for name in ("gold.por_uf", "silver.pedidos"))
    assert silver is not None
    made = Provenance("r", "compras", "append", inputs={"silver.pedidos": Range(None, silver)})
    trained = shop.put("training.compras", pa.table({"uf": ["SP"], "momento": [version]}), made)
    entry = {"model": "compras", "version": version, "action": "promoted", "training_set": f"compras@{trained}"}
    shop.put("ops.models", table_of(MODELS, [entry]))
    features = {"estado": {"entity": {"sigla": "SP"}, "snapshot": gold}}
    score = {"score_id": f"s-{version}", "scored_at": datetime.now(UTC), "features": json.dumps(features)}
    record = {**score, "model": "compras", "model_version": version}
    shop.put("ops.scores", table_of(SCHEMAS[SCORES], [record]))
    return trained


def gold_of(shop: Shop, definitions: Definitions, record: str = "landing/pedidos-0000.jsonl:0") -> Row:
    """The row of gold.por_uf that a record reached."""
    (silver,) = shop.back(record, definitions).reads[0].rows
    (gold,) = silver.reads[0].rows
    return gold


def test_a_version_of_a_table_with_history_and_the_events_in_it(shop_of):
    sql = """
        CREATE STREAMING TABLE silver.precos;
        CREATE FLOW guarda AS AUTO CDC INTO silver.precos FROM STREAM bronze.pedidos
          KEYS (id) SEQUENCE BY versao COLUMNS (id, valor, versao) STORED AS SCD TYPE 2 TRACK HISTORY ON (valor)
    """
    shop = shop_of(sql)
    shop.deliver([{**RECORD, "versao": n, "valor": valor} for n, valor in ((1, 10), (2, 10), (5, 30))])
    shop.run()
    first, second = shop.trace("silver.precos", id="a")
    assert (first.keys, second.keys) == ({"id": "a", "__start_at": 1}, {"id": "a", "__start_at": 5})
    began, ongoing, other = "kept", "kept (the version goes on)", "of another version"
    assert [row.status for row in first.reads[0].rows] == [began, ongoing, other]
    assert [row.status for row in second.reads[0].rows] == [other, other, began]
    up = shop.back("landing/pedidos-0000.jsonl:1").reads[0].rows
    assert [(row.keys["__start_at"], row.status) for row in up] == [(1, ongoing), (5, other)]


def table_of(schema: pa.Schema, rows: Sequence[Record]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


def places_below(row: Row) -> list[str]:
    return [*positions(row)]
