"""Bronze tables of any size: rows made by DuckDB, staged and committed by our own engine and lake."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from benchmarks.inside.project import MEMORY, SOURCE, THREADS, opened
from datalab.engine.base import Append, Query, Work
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, DataFile, Relation, TableSpec
from datalab.platform.lab import Lab

_SQL = (Path(__file__).parent / "rows.sql").read_text(encoding="utf-8")
CATALOG = "catalog.db"
_COMMIT_ROWS = 1_000_000
_CORRECTED = 100_000  # a correction follows within so many requests

# Every hundredth row corrects an earlier request: the same key, a later event.
_REQUEST = (
    f"CASE WHEN i % 100 = 99 AND i > 100 THEN greatest(i - 1 - hash(i) % {_CORRECTED}, 0) // 100 * 100"
    " + hash(i, 1) % 99 ELSE i END"
)
_EVENT = "requested + CASE WHEN i % 100 = 99 THEN 86400000 ELSE 60000 END"


def fill(project: str, table_format: str, rows: int) -> dict[str, Any]:
    """A new bronze table of so many rows, a commit per million."""
    with opened(project, table_format) as lab:
        for first in range(0, rows, _COMMIT_ROWS):
            last = min(first + _COMMIT_ROWS, rows)
            made = _SQL.format(first=first, last=last, total=rows, request=_REQUEST, event=_EVENT)
            _commit(lab, made, last - first)
    return _remembered(Path(project))


def change(project: str, table_format: str, rows: int, count: int, spread: str) -> dict[str, Any]:
    """One more commit with corrections of `count` requests: `scattered` over all, or `recent` ones alone."""
    among = rows if spread == "scattered" else max(count, rows // 100)
    moment = time.time_ns() // 1_000_000
    step = max(among // count, 1)
    request = f"{rows - among} + (i - {rows}) * {step} // 100 * 100 + hash(i, {moment}) % 99"
    made = _SQL.format(first=rows, last=rows + count, total=rows, request=request, event=moment)
    with opened(project, table_format) as lab:
        _commit(lab, made, count)
    return {"rows": count}


def _commit(lab: Lab, rows: str, count: int) -> None:
    feed = next(feed for feed in lab.feeds if feed.name == SOURCE)
    state = lab.lake.define(feed.target, TableSpec(feed.schema, feed.partition, feed.comment), keep_missing=True)
    with tempfile.TemporaryDirectory(dir=lab.configuration.folder) as scratch:
        path = f"{scratch}/rows.parquet"
        _write(rows, path, scratch)
        made = Relation(feed.schema, (DataFile(path, count, Path(path).stat().st_size),))
        tree = exp.select("*").from_("made")
        query = Query(tree, {"made": made}, datetime.now(UTC), "benchmark")
        staged = lab.engine.stage(Work(query, state.target(), Append()))
    provenance = Provenance("benchmark", SOURCE, "append", offsets={"files": 0}, read=count, written=staged.written)
    lab.lake.commit(state, Change(provenance, staged.add))


def _write(rows: str, path: str, scratch: str) -> None:
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": THREADS,
        "memory_limit": MEMORY,
        "temp_directory": scratch,
    }
    with duckdb.connect(config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet, COMPRESSION lz4)")


def _remembered(project: Path) -> dict[str, Any]:
    """The lake as it is with bronze alone, so that a later run can start from there again."""
    lake, kept = project / "lake", project / "pristine"
    kept.mkdir()
    files = sorted(path.relative_to(lake).as_posix() for path in lake.rglob("*") if path.is_file())
    if (lake / CATALOG).exists():
        shutil.copy2(lake / CATALOG, kept / CATALOG)
    (kept / "files.json").write_text(json.dumps(files), encoding="utf-8")
    return {"files": len(files), "bytes": sum((lake / name).stat().st_size for name in files)}
