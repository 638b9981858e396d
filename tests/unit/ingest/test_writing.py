"""Data files of decoded records: the same rows, partitions and bounds as the engine would have written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import parse_one
from tests.field_ids import identified

from datalab.engine.base import Append, Query, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import EngineError, StorageFull
from datalab.ingest import splitting, writing
from datalab.ingest.writing import RecordWriter
from datalab.lake.formats.parquet import read_footer
from datalab.lake.table import DataFile, PartitionField, Relation, WriteTarget
from datalab.names import TableName

NOW = datetime(2026, 3, 5, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")
NAME = TableName("bronze", "p")
LOCAL = [("uf", pa.string()), ("lat", pa.float64())]


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("n", pa.int32()),
        ("v", pa.float64()),
        ("ok", pa.bool_()),
        ("raw", pa.binary()),
        ("dia", pa.date32()),
        ("hora", MOMENT),
        ("preco", pa.decimal128(8, 2)),
        ("local", pa.struct(LOCAL)),
        ("notas", pa.list_(pa.field("element", pa.int32()))),
        ("m", pa.map_(pa.string(), pa.float64())),
    ]
)


def rows(count: int) -> pa.Table:
    made = [
        {
            "id": f"p{at}",
            "n": None if at % 7 == 0 else at,
            "v": at * 1.5,
            "ok": at % 2 == 0,
            "raw": bytes([at % 256]),
            "dia": date(1969, 12, 1) + timedelta(days=at),
            "hora": datetime(1969, 12, 31, 22, tzinfo=UTC) + timedelta(hours=at * 5) if at % 11 else None,
            "preco": Decimal(at).scaleb(-2),
            "local": None if at % 5 == 0 else {"uf": "SP" if at % 2 else "MT", "lat": at / 3},
            "notas": list(range(at % 3)),
            "m": [("a", float(at))],
        }
        for at in range(count)
    ]
    return pa.Table.from_pylist(made, schema=SCHEMA)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    made = DuckDBEngine("512MB", 1)
    yield made
    made.close()


def written(target: WriteTarget, *tables: pa.Table, memory: int = 1 << 30) -> tuple[DataFile, ...]:
    writer = RecordWriter(target, memory)
    for each in tables:
        writer.add(each)
    return writer.finish()


def read(engine: DuckDBEngine, schema: pa.Schema, files: tuple[DataFile, ...]) -> list[dict[str, Any]]:
    tree = parse_one("SELECT * FROM t", read="spark")
    found = engine.read(Query(tree, {"t": Relation(schema, files)}, NOW)).read_all().to_pylist()
    return sorted(found, key=lambda row: (len(row["id"]), row["id"]))


@pytest.mark.parametrize("partition", [
    (), ("ok",), ("hora", "years"), ("hora", "months"), ("hora", "days"), ("hora", "hours"), ("dia", "months"), ("n",),
])  # fmt: skip
@pytest.mark.parametrize("ids", [True, False])
def test_as_the_engine_writes_them(tmp_path: Path, engine: DuckDBEngine, partition: tuple[str, ...], ids: bool) -> None:
    schema = identified(SCHEMA) if ids else SCHEMA
    fields = (PartitionField(*partition), PartitionField("ok")) if partition else ()
    table = rows(60)
    ours = written(WriteTarget(NAME, str(tmp_path / "ours"), schema, fields), table.slice(0, 25), table.slice(25))
    query = Query(parse_one("SELECT * FROM t", read="spark"), {"t": Relation(SCHEMA, memory=table)}, NOW)
    theirs = engine.stage(Work(query, WriteTarget(NAME, str(tmp_path / "theirs"), schema, fields), Append())).add
    assert read(engine, schema, ours) == read(engine, schema, theirs) == table.to_pylist()
    key = lambda file: str(file.partition)  # noqa: E731
    for one, other in zip(sorted(ours, key=key), sorted(theirs, key=key), strict=True):
        assert (one.partition, one.rows, one.nulls) == (other.partition, other.rows, other.nulls)
        assert {**one.lower, "raw": 0} == {**other.lower, "raw": 0}
        assert {**one.upper, "raw": 0} == {**other.upper, "raw": 0}
        assert one.size == Path(one.path).stat().st_size
        assert [c.field_id for c in read_footer(one.path).columns] == [
            c.field_id for c in read_footer(other.path).columns
        ]


def test_columns_that_the_table_has_besides_are_null_and_narrow_types_are_widened(
    tmp_path: Path, engine: DuckDBEngine
) -> None:
    wide = pa.schema([("novo", pa.string()), ("n", pa.int64()), ("id", pa.string()),
                      ("local", pa.struct([*LOCAL, ("cep", pa.string())]))])  # fmt: skip
    table = rows(12).select(["id", "n", "local"])
    files = written(WriteTarget(NAME, str(tmp_path), identified(wide)), table)
    found = read(engine, identified(wide), files)
    assert [row["n"] for row in found] == table.column("n").to_pylist()
    assert {row["novo"] for row in found} == {None}
    assert [row["local"] for row in found] == [
        None if each is None else {**each, "cep": None} for each in table.column("local").to_pylist()
    ]
    with pytest.raises(EngineError, match="lacks columns: id"):
        written(WriteTarget(NAME, str(tmp_path), pa.schema([("n", pa.int32())])), table.select(["id"]))


def test_bounds_of_floating_numbers_hold_only_without_nan(tmp_path: Path) -> None:
    schema = pa.schema([("v", pa.float64()), ("k", pa.string())])
    target = WriteTarget(NAME, str(tmp_path), schema, (PartitionField("k"),))
    table = pa.table({"v": [1.0, 2.0, math.nan, None], "k": ["a", "a", "b", "b"]}, schema=schema)
    files = {file.partition: file for file in written(target, table)}
    assert (files["a",].lower, files["a",].upper) == ({"v": 1.0, "k": "a"}, {"v": 2.0, "k": "a"})
    assert files["b",].lower == {"k": "b"}


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_infinite_numbers_have_bounds(tmp_path: Path, kind: pa.DataType) -> None:
    def bounds(*values: float | None) -> tuple[Any, Any]:
        table = pa.table({"v": pa.array(values, kind)})
        (file,) = written(WriteTarget(NAME, str(tmp_path), table.schema), table)
        return file.lower.get("v"), file.upper.get("v")

    assert bounds(math.inf, 1.0, -math.inf) == bounds(math.inf, None, -math.inf) == (-math.inf, math.inf)
    assert bounds(1e38, -1e38, 1e30) == (pa.scalar(-1e38, kind).as_py(), pa.scalar(1e38, kind).as_py())
    assert bounds(math.inf, math.nan, 1.0) == bounds(math.nan, None) == (None, None)


def test_little_memory_means_more_files_and_the_same_rows(tmp_path: Path, engine: DuckDBEngine) -> None:
    table = rows(60)
    target = WriteTarget(NAME, str(tmp_path), SCHEMA, (PartitionField("ok"),))
    files = written(target, *(table.slice(at, 10) for at in range(0, 60, 10)), memory=1)
    assert len(files) == 12
    assert read(engine, SCHEMA, files) == table.to_pylist()


def test_few_rows_of_many_partitions_do_not_hold_on_to_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_GROUP_ROWS", 5_000)
    uf = ["SP"] * 9_700 + [f"{at % 30}" for at in range(300)]
    table = pa.table({"uf": uf, "n": pa.array(range(len(uf)), pa.int64())})
    writer = RecordWriter(WriteTarget(NAME, str(tmp_path), table.schema, (PartitionField("uf"),)), 1 << 20)
    before, most = pa.total_allocated_bytes(), 0
    for _ in range(60):
        writer.add(table)
        most = max(most, pa.total_allocated_bytes() - before)
    assert sum(file.rows for file in writer.finish()) == 60 * len(uf)
    assert most < 7 << 20


def test_a_dictionary_only_where_values_recur(tmp_path: Path) -> None:
    count = 5_000
    table = pa.table({"id": [f"p{at}" for at in range(count)], "uf": ["SP", "MT"] * (count // 2)})
    (file,) = written(WriteTarget(NAME, str(tmp_path), table.schema), table)
    group = pq.read_metadata(file.path).row_group(0)
    assert ["RLE_DICTIONARY" in group.column(at).encodings for at in range(2)] == [False, True]


def as_dictionaries(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    """Texts as decoders give them where they recur: `names` are columns, or fields of `local`."""
    for at, each in enumerate(table.schema):
        if each.name in names:
            table = table.set_column(at, each.name, table.column(at).combine_chunks().dictionary_encode())
        elif each.name == "local":
            struct = table.column(at).combine_chunks()
            parts = [part.dictionary_encode() if field.name in names else part
                     for field, part in zip(struct.type, struct.flatten(), strict=True)]  # fmt: skip
            made = pa.StructArray.from_arrays(parts, names=["uf", "lat"], mask=struct.is_null())
            table = table.set_column(at, each.name, made)
    return table


@pytest.mark.parametrize("group", [15, 1_000])
@pytest.mark.parametrize("partition", [(), ("ok",), ("id",)])
def test_texts_come_as_dictionaries_or_not(
    tmp_path: Path, engine: DuckDBEngine, monkeypatch: pytest.MonkeyPatch, group: int, partition: tuple[str, ...]
) -> None:
    """In any order, in one row group or in several of a file: the rows are the same, and so are the bounds."""
    monkeypatch.setattr(writing, "_GROUP_ROWS", group)
    table = rows(80)
    table = table.set_column(0, "id", pa.array([f"p{at:02}" if at % 8 else "p" for at in range(80)]))
    forms: list[tuple[str, ...]] = [("id", "uf"), ("id", "uf"), ("uf",), (), ("id",), ("id", "uf"), (), ("id", "uf")]
    parts = [as_dictionaries(table.slice(10 * at, 10), names) for at, names in enumerate(forms)]
    target = WriteTarget(NAME, str(tmp_path), SCHEMA, tuple(map(PartitionField, partition)))
    files = written(target, *parts)
    assert read(engine, SCHEMA, files) == sorted(table.to_pylist(), key=lambda row: (len(row["id"]), row["id"]))
    for file in files:
        found = pq.ParquetFile(file.path).read()
        ids = found.column("id").to_pylist()
        assert (file.lower["id"], file.upper["id"]) == (min(ids), max(ids))
        assert found.schema.field("local").type == SCHEMA.field("local").type
    groups = [pq.read_metadata(file.path).num_row_groups for file in files]
    assert partition or group > 80 or max(groups) > 1


def test_only_the_steps_of_numbers_that_rise(
    tmp_path: Path, engine: DuckDBEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, random = 5_000, Random(1)
    monkeypatch.setattr(writing, "_SAMPLE", count)
    table = pa.table(
        {
            "id": [f"p{at}" for at in range(count)],
            "offset": pa.array([at * 3 for at in range(count)], pa.int64()),
            "hora": pa.array(range(count), MOMENT),
            "any": pa.array([random.getrandbits(40) for _ in range(count)], pa.int64()),
            "falls": pa.array(range(count, 0, -1), pa.int64()),
        }
    )
    odd = pa.table(
        {
            "id": ["p5000", "p5001", "p5002"],
            "offset": pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
            "hora": pa.array([None, 5, -5], MOMENT),
            "any": pa.array([None, 0, -1], pa.int64()),
            "falls": pa.array([1, 2, 3], pa.int64()),
        }
    )
    schema = table.schema
    (file,) = written(WriteTarget(NAME, str(tmp_path), schema), table, odd)
    group = pq.read_metadata(file.path).row_group(0)
    assert ["DELTA_BINARY_PACKED" in group.column(at).encodings for at in range(5)] == [False, True, True, False, False]
    assert (
        read(engine, schema, (file,))
        == pq.read_table(file.path).to_pylist()
        == pa.concat_tables([table, odd]).to_pylist()
    )
    assert (file.lower["offset"], file.upper["offset"], file.nulls["offset"]) == (-(2**63), 2**63 - 1, 1)


def test_many_partitions_as_few_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(2)
    made = {name: [random.choice([*range(40), None]) for _ in range(2_000)] for name in ("a", "b")}
    table = pa.table({**made, "n": range(2_000)}, pa.schema([(name, pa.int64()) for name in ("a", "b", "n")]))
    fields = (PartitionField("a"), PartitionField("b"))

    def parts() -> dict[Any, list[int]]:
        return {key: sorted(rows.column("n").to_pylist()) for key, rows in splitting.split(table, fields)}

    counted = parts()
    assert all((row["a"], row["b"]) == key for key, ns in counted.items() for row in table.take(ns).to_pylist())
    assert sum(map(len, counted.values())) == 2_000
    monkeypatch.setattr(splitting, "_COUNTED", 0)
    assert parts() == counted


def test_statistics_where_tables_keep_bounds(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "local": [{"uf": "SP"}, {"uf": "MT"}], "onde": pa.array(["x", "x"])})
    table = table.set_column(2, "onde", table.column("onde").dictionary_encode())
    (file,) = written(WriteTarget(NAME, str(tmp_path), table.schema), table)
    group = pq.read_metadata(file.path).row_group(0)
    assert [group.column(at).is_stats_set for at in range(3)] == [True, False, True]


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "uuid4", lambda: "full")
    (tmp_path / "dl-full.parquet").symlink_to("/dev/full")
    with pytest.raises(StorageFull, match="no space left"):
        written(WriteTarget(NAME, str(tmp_path), SCHEMA), rows(3))


def test_rows_with_nan_are_found_by_what_they_hold(
    engine: DuckDBEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN is greater than every number: statistics that pass over it would have its rows passed over."""
    monkeypatch.setattr(writing, "_GROUP_ROWS", 2)
    schema = identified(pa.schema([("v", pa.float64()), ("f", pa.float32()), ("n", pa.int64())]))
    batches = [[-1.0, -2.0], [math.nan, -3.0], [-4.0, None]]
    tables = [
        pa.table({"v": each, "f": pa.array(each, pa.float32()), "n": list(range(2))}, schema=schema) for each in batches
    ]
    files = written(WriteTarget(NAME, str(tmp_path), schema), *tables)
    assert [file.rows for file in files] == [2, 4]
    assert [sorted(file.upper) for file in files] == [["f", "n", "v"], ["n"]]

    def found(condition: str) -> int:
        tree = parse_one(f"SELECT * FROM t WHERE {condition}", read="spark")
        return len(engine.read(Query(tree, {"t": Relation(schema, files)}, NOW)).read_all())  # type: ignore[arg-type]

    assert [found(each) for each in ("v > 0", "f > 0", "v < 0", "v = CAST('NaN' AS DOUBLE)", "n > 0")] == [
        1,
        1,
        4,
        1,
        3,
    ]
