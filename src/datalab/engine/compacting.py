"""Compaction: the rows of some data files written again as they are, in order, into files of a good size."""

from __future__ import annotations

from pathlib import Path

from datalab.engine.relations import columns, quoted
from datalab.engine.session import Session
from datalab.engine.statistics import bounds
from datalab.engine.writing import ACCEPTED, Written, file_length, file_options
from datalab.lake.table import DataFile, Rewriting

_UNBOUNDED = 1 << 50


def rewritten(session: Session, work: Rewriting, folder: Path) -> tuple[Written, ...]:
    """Write the rows of one partition; tombstones and internal columns are rows and columns like any other."""
    schema = work.target.schema
    order = f" ORDER BY {', '.join(f'{quoted(name)} NULLS FIRST' for name in work.order)}" if work.order else ""
    rows = f"SELECT {columns(schema.names)} FROM ({session.relation(work.rows)}){order}"
    size = _share(sum(file.size for file in work.rows.files), work.file_size)
    answer = session.copy(rows, folder, f"{file_length(work.target, size)}{file_options(work.target)}")
    files = []
    for path, count, written, _, statistics, _ in answer:
        if count:
            lower, upper, nulls = bounds(statistics, schema)
            files.append(Written(ACCEPTED, DataFile(path, count, written, work.partition, lower, upper, nulls)))
    return tuple(files)


def _share(total: int, file_size: int) -> int:
    """Even shares; one file where all fits into it, however its size turns out."""
    parts = -(-total // file_size)
    return _UNBOUNDED if parts <= 1 else -(-total // parts)
