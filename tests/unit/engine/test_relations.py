"""Relations as DuckDB reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from datalab.engine.relations import file_rows
from datalab.lake.table import DataFile, Marks

SCHEMA = pa.schema([("k", pa.string())])


def test_few_keys_are_looked_for_in_a_large_file_and_not_the_file_in_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    pq.write_table(pa.table({"k": [f"k{number}" for number in range(50_000)]}, schema=SCHEMA), path)
    rows = file_rows(SCHEMA, [DataFile(str(path), 50_000, path.stat().st_size)], position=True)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE keys AS SELECT 'k' || 7 * range AS k FROM range(2000)")
        query = f"SELECT k FROM ({rows}) many SEMI JOIN keys ON many.k = keys.k"
        ((_, plan),) = connection.execute(f"EXPLAIN {query}").fetchall()
        assert len(connection.execute(query).fetchall()) == 2000
    assert "RIGHT_SEMI" not in plan


def test_rows_of_a_part_are_told_from_the_positions_alone(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"k": [f"k{number}" for number in range(1000)]}, schema=SCHEMA), path)
    data = DataFile(str(path), 1000, path.stat().st_size)

    def marked(name: str, positions: list[int]) -> Marks:
        marks = tmp_path / name
        pq.write_table(pa.table({"file_path": [str(path)] * len(positions), "pos": positions}), marks)
        return Marks(str(marks), len(positions), marks.stat().st_size)

    def found(gone: tuple[Marks, ...], only: tuple[Marks, ...]) -> tuple[list[str], str]:
        rows = file_rows(SCHEMA, [replace(data, gone=gone, only=only)])
        with duckdb.connect() as connection:
            answer = connection.execute(f"SELECT k FROM ({rows}) ORDER BY k").fetchall()
            ((_, plan),) = connection.execute(f"EXPLAIN ANALYZE SELECT k FROM ({rows})").fetchall()
        return [row[0] for row in answer], plan

    some, more = marked("some", [3, 5, 900]), marked("more", [3, 5, 7, 900])
    assert found((), (more,))[0] == ["k3", "k5", "k7", "k900"]
    assert found((some,), (more,))[0] == ["k7"]
    assert len(found((some, more), ())[0]) == 996
    nothing, plan = found((more,), (some,))
    assert nothing == []
    assert "Total Files Read: 0" in plan
