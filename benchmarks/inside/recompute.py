"""The peer of a small change: plain DuckDB computes the three views anew, from silver's Parquet files to Parquet."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.inside.peer import MEMORY, THREADS


def run(queries: str, folder: str) -> dict[str, Any]:
    """The seconds of all three views, and of each."""
    asked = json.loads(Path(queries).read_text(encoding="utf-8"))
    Path(folder).mkdir(parents=True)
    each: dict[str, float] = {}
    with duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY, "temp_directory": folder}) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false; CREATE SCHEMA silver")
        for macro in asked["macros"]:
            connection.execute(macro)
        files = ", ".join(f"'{path}'" for path in asked["files"])
        rows = f"FROM read_parquet([{files}], hive_partitioning = false)"
        connection.execute(f"CREATE VIEW silver.silver_dados_produtores_agro AS {rows}")
        cpu = time.process_time()
        for name, sql in asked["gold"].items():
            started = time.monotonic()
            connection.execute(f"COPY ({sql}) TO '{folder}/{name}.parquet' (FORMAT parquet, COMPRESSION zstd)")
            each[name] = time.monotonic() - started
        cpu = time.process_time() - cpu
    return {"work": sum(each.values()), "cpu": cpu, "each": each}
