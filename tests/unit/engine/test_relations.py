"""Relations as DuckDB reads them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from datalab.engine.relations import file_rows
from datalab.lake.table import DataFile

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
