"""The least that must be done to turn Avro files into Parquet: two processes, Polars and DuckDB, nothing checked."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORKERS = 2


def run(landing: str, folder: str) -> dict[str, Any]:
    """All files of a folder, half of them to each process; their start is counted in."""
    Path(folder).mkdir(parents=True)
    files = sorted(str(path) for path in Path(landing).iterdir())
    started = time.monotonic()
    shares = [files[number::WORKERS] for number in range(WORKERS)]
    workers = [
        subprocess.Popen([sys.executable, __file__, f"{folder}/{number}.parquet", *share], stdout=subprocess.PIPE)
        for number, share in enumerate(shares)
    ]
    counts = [int(worker.communicate()[0]) for worker in workers]
    return {"work": time.monotonic() - started, "files": len(files), "rows": sum(counts)}


def _decode(out: str, files: list[str]) -> int:
    """Answers the number of records."""
    import duckdb  # noqa: PLC0415 - the parent needs none of it
    import polars as pl  # noqa: PLC0415

    records = pl.concat([pl.read_avro(file) for file in files], rechunk=False).to_arrow()
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.register("records", records)
        connection.execute(f"COPY records TO '{out}' (FORMAT parquet, COMPRESSION snappy)")
    return int(records.num_rows)


if __name__ == "__main__":
    print(_decode(sys.argv[1], sys.argv[2:]))
