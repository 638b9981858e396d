"""Large files that few rows leave are copied by Arrow: the same values, columns, encodings and true bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import exp, parse_one
from tests.field_ids import identified

from datalab.engine import copying, writing
from datalab.engine.base import Append, Query, Staged, Upsert, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import EngineError
from datalab.lake.formats.parquet import read_footer
from datalab.lake.table import DataFile, PartitionField, Relation, WriteTarget
from datalab.names import TableName

NOW = datetime(2026, 3, 5, tzinfo=UTC)
TEXTS = pa.list_(pa.field("element", pa.string()))
SCHEMA = pa.schema(
    [
        ("k", pa.int64()),
        ("__sequence", pa.int64()),
        ("uf", pa.string()),
        ("texto", pa.string()),
        ("raw", pa.binary()),
        ("v", pa.float64()),
        ("f", pa.float32()),
        ("n", pa.int32()),
        ("ok", pa.bool_()),
        ("dia", pa.date32()),
        ("hora", pa.timestamp("us", tz="UTC")),
        ("preco", pa.decimal128(8, 2)),
        ("total", pa.decimal128(38, 3)),
        ("nada", pa.string()),
        ("local", pa.struct([("uf", pa.string()), ("lat", pa.float64()), ("em", pa.struct([("rua", pa.string())]))])),
        ("notas", TEXTS),
        ("m", pa.map_(pa.string(), pa.int32())),
        ("itens", pa.list_(pa.field("element", pa.struct([("nome", pa.string()), ("pesos", TEXTS)])))),
    ]
)
ROWS = 5_000


def row(at: int, sequence: int = 1) -> dict[str, Any]:
    """NULLs at every depth, empty texts and lists, both zeros, what is least and greatest of a type."""
    street = None if at % 13 == 0 else {"rua": ["", "R. São João", None][at % 3]}
    return {
        "k": at,
        "__sequence": sequence,
        "uf": None if at % 7 == 0 else ["", "SP", "MT"][at % 3],
        "texto": f"é{at}" if at else "",
        "raw": bytes([at % 4, 0]),
        "v": -0.0 if at % 2 else at / 3,
        "f": float(at % 9),
        "n": None if at % 5 == 0 else at % 50 - 25,
        "ok": at % 2 == 0 if at % 17 else None,
        "dia": date(1969, 12, 1) + timedelta(days=at % 90),
        "hora": datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=at, microseconds=at * 7) if at % 11 else None,
        "preco": Decimal(at % 40 - 20).scaleb(-2),
        "total": Decimal(10**34 + at).scaleb(-3),
        "nada": None,
        "local": None if at % 5 == 0 else {"uf": "SP" if at % 2 else None, "lat": at / 7, "em": street},
        "notas": None if at % 6 == 0 else ["a", None, ""][: at % 4],
        "m": [(f"c{at % 3}", at if at % 2 else None)],
        "itens": [{"nome": f"i{at % 4}", "pesos": [] if at % 2 else ["x"]}, None][: at % 3],
    }


def table(rows: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    """Files have groups of 2048 rows, and are large from 1000 rows on."""
    made = DuckDBEngine("512MB", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "_SMALL", 1_000)
        patch.setattr(writing, "_GROUP_ROWS", 2_048)
        yield made
    made.close()


def query(rows: pa.Table) -> Query:
    tree = exp.select(*[exp.column(name, quoted=True) for name in rows.column_names]).from_("t")
    return Query(tree, {"t": Relation(rows.schema, memory=rows)}, NOW)


def goal(tmp_path: Path, schema: pa.Schema = SCHEMA, partition: tuple[PartitionField, ...] = ()) -> WriteTarget:
    cluster = () if partition else ("k",)
    return WriteTarget(
        TableName("silver", "x"), str(tmp_path / "table"), schema, partition, cluster=cluster, file_rows=1 << 20
    )


def present(engine: DuckDBEngine, target: WriteTarget, rows: pa.Table) -> tuple[DataFile, ...]:
    return engine.stage(Work(query(rows), target, Append())).add


def upserted(engine: DuckDBEngine, target: WriteTarget, files: tuple[DataFile, ...], rows: pa.Table) -> Staged:
    current = Relation(target.schema, files)
    return engine.stage(Work(query(rows), target, Upsert(("k",), "__sequence"), (), current, record=True))


def read(engine: DuckDBEngine, files: tuple[DataFile, ...], schema: pa.Schema = SCHEMA) -> list[str]:
    """The rows as texts, which tell both zeros and NaN apart."""
    tree = parse_one("SELECT * FROM t", read="spark")
    shown = engine.read(Query(tree, {"t": Relation(schema, files)}, NOW)).read_all()
    return sorted(repr(each) for each in shown.to_pylist())


def internal(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows as `read` answers them."""
    shown = [name for name in SCHEMA.names if name != "__sequence"]
    return sorted(repr({name: each[name] for name in shown}) for each in table(rows).to_pylist())


def by_arrow(files: Iterable[DataFile]) -> list[DataFile]:
    return [file for file in files if "parquet-cpp-arrow" in pq.read_metadata(file.path).created_by]


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("partition", [(), (PartitionField("ok"),)])
def test_values_bounds_and_record(
    engine: DuckDBEngine, tmp_path: Path, ids: bool, partition: tuple[PartitionField, ...]
) -> None:
    schema = identified(SCHEMA) if ids else SCHEMA
    target = goal(tmp_path, schema, partition)
    files = present(engine, target, table([row(at) for at in range(ROWS)]))
    changed = [0, 1, 2, 2_047, 2_048, *range(3_000, 3_900, 9), ROWS - 1]
    staged = upserted(engine, target, files, table([row(at, 2) for at in changed]))
    copies = by_arrow(staged.add)
    assert len(copies) == len([file for file in files if file.rows >= 1_000])
    after = (*(file for file in files if file not in staged.remove), *staged.add)
    assert read(engine, after, schema) == internal([row(at) for at in range(ROWS)])
    for copy in copies:
        true_to_the_data(copy, schema)
    assert staged.changes is not None
    assert set(staged.changes.copies) >= {copy.path for copy in copies}
    left = pq.ParquetDataset([file.path for file in staged.changes.left]).read().to_pylist()
    assert sorted(each["k"] for each in left) == changed
    assert {each["__sequence"] for each in left} == {1}
    assert internal(left) == internal([row(at) for at in changed])


def true_to_the_data(copy: DataFile, schema: pa.Schema) -> None:
    """Rows, size, partition and bounds of a file are what it holds."""
    held = pq.ParquetFile(copy.path).read()
    assert (copy.rows, copy.size) == (held.num_rows, Path(copy.path).stat().st_size)
    assert [each.metadata for each in held.schema] == [each.metadata for each in schema]
    assert [each.type for each in held.schema] == [each.type for each in schema]
    flat = [each.name for each in schema if not each.type.num_fields]
    for name in flat:
        column = held.column(name)
        assert copy.nulls[name] == column.null_count
        values = [value for value in column.to_pylist() if value is not None]
        if values:
            assert (copy.lower[name], copy.upper[name]) == (min(values), max(values)), name
        else:
            assert name not in copy.lower
    if copy.partition:
        assert set(held.column("ok").to_pylist()) == set(copy.partition)


def test_written_as_duckdb_writes(engine: DuckDBEngine, tmp_path: Path) -> None:
    target = goal(tmp_path)
    (file,) = present(engine, target, table([row(at) for at in range(ROWS)]))
    staged = upserted(engine, target, (file,), table([row(5, 2)]))
    (copy,) = by_arrow(staged.add)
    before, after = pq.read_metadata(file.path), pq.read_metadata(copy.path)
    assert pq.read_schema(copy.path).equals(pq.read_schema(file.path))
    assert [after.row_group(at).num_rows for at in range(after.num_row_groups)] == [
        before.row_group(at).num_rows - (at == 0) for at in range(before.num_row_groups)
    ]
    for group in range(before.num_row_groups):
        for at in range(before.num_columns):
            one, other = before.row_group(group).column(at), after.row_group(group).column(at)
            assert (one.physical_type, one.has_dictionary_page) == (other.physical_type, other.has_dictionary_page)
            assert other.compression == "SNAPPY"
            assert one.path_in_schema == other.path_in_schema
            if before.schema.column(at).max_repetition_level:
                assert other.statistics is None
            elif group and one.statistics.has_min_max:
                known = [(told.min, told.max, told.null_count) for told in (one.statistics, other.statistics)]
                assert known[0] == known[1]
    again = upserted(engine, target, staged.add, table([row(6, 2)]))
    assert len(by_arrow(again.add)) == 1
    assert read(engine, (*again.add, *(file for file in staged.add if file not in again.remove))) == internal(
        [row(at) for at in range(ROWS)]
    )


def test_a_group_of_which_all_rows_leave_is_left_out(engine: DuckDBEngine, tmp_path: Path) -> None:
    target = goal(tmp_path)
    (file,) = present(engine, target, table([row(at) for at in range(5 * 2_048)]))
    groups = pq.read_metadata(file.path).num_row_groups
    staged = upserted(engine, target, (file,), table([row(at, 2) for at in range(2_048)]))
    (copy,) = by_arrow(staged.add)
    footer = pq.read_metadata(copy.path)
    assert (footer.num_row_groups, footer.num_rows, copy.lower["k"]) == (groups - 1, 4 * 2_048, 2_048)


@pytest.mark.parametrize("where", ["v", "f", "local"])
def test_files_with_nan_are_left_to_the_engine(engine: DuckDBEngine, tmp_path: Path, where: str) -> None:
    target = goal(tmp_path)
    rows = [row(at) for at in range(ROWS)]
    rows[2_500][where] = {"uf": "", "lat": math.nan, "em": None} if where == "local" else math.nan
    files = present(engine, target, table(rows))
    staged = upserted(engine, target, files, table([row(5, 2)]))
    assert by_arrow(staged.add) == []
    assert len(staged.remove) == 1
    assert read(engine, staged.add) == internal(rows)


def test_small_files_many_rows_and_other_columns_are_left_to_the_engine(engine: DuckDBEngine, tmp_path: Path) -> None:
    target = goal(tmp_path)
    files = present(engine, target, table([row(at) for at in range(ROWS)]))
    assert by_arrow(upserted(engine, target, files, table([row(at, 2) for at in range(ROWS // 4 + 1)])).add) == []
    small = present(engine, target, table([row(at) for at in range(900)]))
    assert by_arrow(upserted(engine, target, small, table([row(5, 2)])).add) == []
    wider = pa.schema([*SCHEMA, pa.field("novo", pa.string())])
    staged = upserted(engine, goal(tmp_path, wider), files, table([row(5, 2)], wider))
    assert by_arrow(staged.add) == []
    renamed = pa.schema([field.with_name("k2") if field.name == "n" else field for field in SCHEMA])
    new = table([{**row(5, 2), "k2": 7}], renamed)
    assert by_arrow(upserted(engine, goal(tmp_path, renamed), files, new).add) == []


def test_new_rows_go_with_what_small_files_hold(engine: DuckDBEngine, tmp_path: Path) -> None:
    target = goal(tmp_path)
    large = present(engine, target, table([row(at) for at in range(ROWS)]))
    small = present(engine, target, table([row(at) for at in range(ROWS, ROWS + 10)]))
    staged = upserted(engine, target, (*large, *small), table([row(at, 2) for at in (1, ROWS, ROWS + 50)]))
    assert len(staged.remove) == 2
    (copy,) = by_arrow(staged.add)
    (other,) = (file for file in staged.add if file != copy)
    assert (copy.rows, other.rows) == (ROWS - 1, 12)
    assert read(engine, staged.add) == internal([row(at) for at in (*range(ROWS + 10), ROWS + 50)])
    assert staged.changes is not None
    rows = [pq.ParquetDataset([f.path for f in side]).read() for side in (staged.changes.entered, staged.changes.left)]
    assert [sorted(each.column("k").to_pylist()) for each in rows] == [[1, ROWS, ROWS + 50], [1, ROWS]]
    assert set(staged.changes.copies) == {copy.path, other.path}


def test_a_damaged_file_is_told_and_nothing_is_left_behind(engine: DuckDBEngine, tmp_path: Path) -> None:
    target = goal(tmp_path)
    (file,) = present(engine, target, table([row(at) for at in range(ROWS)]))
    data = bytearray(Path(file.path).read_bytes())
    # The pages of a column that an upsert does not look at.
    chunk = pq.read_metadata(file.path).row_group(1).column(SCHEMA.names.index("texto"))
    data[chunk.data_page_offset : chunk.data_page_offset + chunk.total_compressed_size] = b"\xff" * (
        chunk.total_compressed_size
    )
    Path(file.path).write_bytes(data)
    with pytest.raises(EngineError):
        upserted(engine, target, (file,), table([row(5, 2)]))
    assert [path.name for path in (tmp_path / "table").rglob("*.parquet")] == [Path(file.path).name]


def test_bounds_in_the_footer_say_where_no_nan_is(engine: DuckDBEngine, tmp_path: Path) -> None:
    target = goal(tmp_path)
    files = present(engine, target, table([row(at) for at in range(ROWS)]))
    (copy,) = by_arrow(upserted(engine, target, files, table([row(5, 2)])).add)
    known = {".".join(column.path): column for column in read_footer(copy.path).columns}
    assert (known["v"].lower, known["local.lat"].upper) == (0.0, (ROWS - 1) / 7)
