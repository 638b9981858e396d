"""Writers of any version, in any order, repeated, stopped at any row: the newest that ends leaves the lake's rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from datalab.engine.base import Query, Replace, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import FeatureError, OnlineStoreError
from datalab.features.materialize import Gold, Materialized, materialize
from datalab.features.online import sqlite
from datalab.features.online.base import Lookup, Version
from datalab.features.online.sqlite import SqliteStore
from datalab.features.parity import check
from datalab.features.views import FeatureView
from datalab.lake.lake import Lake, open_lake
from datalab.lake.maintenance.expire import expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.provenance import Provenance
from datalab.lake.table import Relation, TableSpec
from datalab.names import TableName

NOW = datetime(2026, 7, 1, tzinfo=UTC)
SCHEMA = pa.schema([("cliente", pa.string()), ("gasto", pa.int64()), ("visto_em", pa.timestamp("us", tz="UTC"))])
PROPERTY = settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
_names = count()


class Stopped(Exception):
    """What ends a writer in the middle."""


class Table:
    """A gold table, committed by hand."""

    def __init__(self, lake: Lake, engine: DuckDBEngine, schema: pa.Schema = SCHEMA) -> None:
        self.lake, self.engine, self.schema = lake, engine, schema
        self.name = TableName("gold", f"clientes_{next(_names)}")
        self.view = FeatureView("cliente", self.name, ("cliente",), "visto_em", file="features/cliente.yaml")
        lake.define(self.name, TableSpec(schema))

    def commit(self, rows: dict[str, int | None]) -> None:
        """One more version; None stands for a row without a time."""
        records = [
            {"cliente": name, "gasto": value or 0, "visto_em": NOW if value is not None else None}
            for name, value in rows.items()
        ]
        self.write(pa.Table.from_pylist(records, schema=SCHEMA))

    def write(self, table: pa.Table) -> None:
        state = self.lake.require(self.name)
        query = Query(exp.select("*").from_("rows"), {"rows": Relation(self.schema, memory=table)}, NOW)
        current = self.lake.files(state) if state.snapshot is not None else Relation(state.schema)
        staged = self.engine.stage(Work(query, state.target(), Replace(), (), current))
        self.lake.commit(state, staged.change(Provenance("r", "f", "replace")))

    def golds(self) -> list[Gold]:
        state = self.lake.require(self.name)
        return [
            Gold(self.lake, self.engine, state, Version(entry.sequence, entry.id), NOW)
            for entry in self.lake.history(state)
        ]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    made = DuckDBEngine("1GB", 2, tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


@pytest.fixture(scope="module", params=["iceberg", "delta"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return open_lake(request.param, str(tmp_path_factory.mktemp("lake")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "online.db", 2.0)
    yield made
    made.close()


def served(store: SqliteStore, names: str = "abcd") -> dict[str, Any]:
    found = store.read([Lookup("cliente", (name,)) for name in names], NOW)
    return {name: row.values["gasto"] for name, row in zip(names, found, strict=True) if row is not None}


def attempt(gold: Gold, store: SqliteStore, view: FeatureView, rows: int | None) -> Materialized | None:
    """Materialize, and be stopped after so many rows; None: not at all."""
    left, whole = rows, store._set

    def counted(claim: Any, records: Any) -> int:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                raise Stopped
        return whole(claim, records)

    store._set = counted  # type: ignore[method-assign]
    try:
        return materialize(gold, store, view)
    except Stopped:
        return None
    finally:
        del store._set  # type: ignore[method-assign]


@given(
    versions=st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(1, 2), min_size=1), min_size=2, max_size=4
    ),
    writers=st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3)), max_size=5),
)
@PROPERTY
def test_the_newest_writer_that_ends_leaves_the_lakes_rows(
    lake: Lake, engine: DuckDBEngine, tmp_path: Path, versions: list[dict[str, int | None]], writers: list[Any]
) -> None:
    table = Table(lake, engine)
    for rows in versions:
        table.commit(rows)
    golds = table.golds()
    store = SqliteStore(tmp_path / f"{next(_names)}.db", 2.0)
    batch, sqlite._BATCH = sqlite._BATCH, 1
    try:
        for number, stop in writers:
            attempt(golds[min(number, len(golds) - 1)], store, table.view, stop)
        attempt(golds[-1], store, table.view, None)
    finally:
        sqlite._BATCH = batch
    wanted = {name: value for name, value in versions[-1].items() if value is not None}
    assert served(store) == wanted
    assert store.position("cliente").done == golds[-1].version
    assert len(store.entries("cliente", 10)) == len(wanted), "nothing else is kept"
    store.close()


def test_a_value_that_came_and_went_while_a_writer_died(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    """The second version's writer dies with `a` written; between the first and the third nothing of `a` changed."""
    table = Table(lake, engine)
    for rows in ({"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 3}):
        table.commit(rows)
    first, second, third = table.golds()
    attempt(first, store, table.view, None)
    claim = store.begin("cliente", store.position("cliente").layout, second.version)  # type: ignore[arg-type]
    store.write(claim, pa.Table.from_pylist([{"cliente": "a", "gasto": 2, "visto_em": NOW}], schema=SCHEMA))
    assert served(store) == {"a": 2, "b": 1}
    assert attempt(third, store, table.view, None) is not None
    assert served(store) == {"a": 1, "b": 3}


def test_a_row_that_changed_several_times_in_between(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    """Only its last form counts, though each commit tells of its own."""
    table = Table(lake, engine)
    for value in (1, 2, 3, 2):
        table.commit({"a": value, "b": 1})
    golds = table.golds()
    materialize(golds[0], store, table.view)
    assert materialize(golds[-1], store, table.view).written == 1
    assert served(store) == {"a": 2, "b": 1}


def test_only_changed_rows_are_written(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    table = Table(lake, engine)
    table.commit(dict.fromkeys("abc", 1))
    table.commit({"a": 1, "b": 2})
    first, second = table.golds()
    whole, changed, nothing = (materialize(gold, store, table.view) for gold in (first, second, second))
    assert (whole.kind, whole.written, whole.gone) == ("whole", 3, 0)
    assert (changed.kind, changed.written, changed.gone) == ("changed", 1, 1)
    assert (nothing.kind, nothing.written) == ("nothing", 0)
    late = materialize(first, store, table.view)
    assert (late.kind, served(store)) == ("superseded", {"a": 1, "b": 2})


def test_another_view_of_the_table_is_written_whole(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    table = Table(lake, engine)
    table.commit({"a": 1})
    (gold,) = table.golds()
    materialize(gold, store, table.view)
    other = FeatureView(
        "cliente", table.name, ("cliente",), "visto_em", ("gasto",), NOW - datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert materialize(gold, store, other).kind == "whole"
    assert materialize(gold, store, other).kind == "nothing"


def test_an_entity_that_is_no_key_is_refused(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    table = Table(lake, engine)
    table.write(pa.Table.from_pylist([{"cliente": "a", "gasto": n, "visto_em": NOW} for n in (1, 2)], schema=SCHEMA))
    with pytest.raises(FeatureError, match=f"{table.name} has several rows of one cliente"):
        materialize(table.golds()[0], store, table.view)


def test_the_group_of_null_is_not_stored(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    table = Table(lake, engine)
    for value in (1, 2):
        records = [{"cliente": name, "gasto": value, "visto_em": NOW} for name in ("a", None)]
        table.write(pa.Table.from_pylist(records, schema=SCHEMA))
        assert materialize(table.golds()[-1], store, table.view).written == 1
        assert store.read([Lookup("cliente", ("a",)), Lookup("cliente", (None,))], NOW)[1] is None
        assert served(store) == {"a": value}
        found = check(table.golds()[-1], store, table.view, None, 10)
        assert (found.compared, found.differences) == (1, ())


def test_parity_takes_a_nan_for_a_nan_also_in_lists(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    schema = SCHEMA.append(pa.field("notas", pa.list_(pa.float64())))
    table = Table(lake, engine, schema)
    rows = [{"cliente": "a", "gasto": 1, "visto_em": NOW, "notas": [math.nan, None, 1.5]}]
    table.write(pa.Table.from_pylist(rows, schema=schema))
    (gold,) = table.golds()
    materialize(gold, store, table.view)
    assert check(gold, store, table.view, None, 10).differences == ()
    layout = store.position("cliente").layout
    assert layout is not None
    claim = store.begin("cliente", layout, gold.version)
    store.write(claim, pa.Table.from_pylist([{**rows[0], "notas": [math.nan, None, 2.5]}], schema=schema))
    store.finish(claim, whole=False)
    assert [each.feature for each in check(gold, store, table.view, None, 10).differences] == ["notas"]


def test_parity_says_so_where_the_version_of_the_store_has_expired(
    lake: Lake, engine: DuckDBEngine, store: SqliteStore
) -> None:
    table = Table(lake, engine)
    table.commit({"a": 1})
    materialize(table.golds()[0], store, table.view)
    table.commit({"a": 2})
    gone = table.golds()[0].version.snapshot
    goals = Goals(keep=1, keep_for=timedelta(0), readers=timedelta(0))
    assert expire(lake, table.name, (), goals, datetime.now(UTC) + timedelta(days=1)).expired == (gone,)
    (gold,) = table.golds()
    found = check(gold, store, table.view, None, 10)
    assert (found.compared, found.differences) == (0, ())
    assert f"{table.name} has no snapshot {gone}" in found.note
    assert materialize(gold, store, table.view).kind == "whole"
    assert check(gold, store, table.view, None, 10).compared == 1


def test_a_rebuild_mends_a_damaged_store(lake: Lake, engine: DuckDBEngine, store: SqliteStore) -> None:
    table = Table(lake, engine)
    table.commit({"a": 1})
    (gold,) = table.golds()
    materialize(gold, store, table.view)
    with store._transaction() as connection:
        connection.execute("UPDATE views SET position = '{'")
        connection.execute("UPDATE layouts SET content = '{'")
    with pytest.raises(OnlineStoreError, match="did not write"):
        materialize(gold, store, table.view)
    assert materialize(gold, store, table.view, rebuild=True).kind == "whole"
    assert served(store) == {"a": 1}
    assert materialize(gold, store, table.view).kind == "nothing"
