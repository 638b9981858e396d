"""Merge-on-read: rows leave a file by their position, and the file stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from datalab.engine.faults import translated
from datalab.engine.relations import FIELD_ID, FILE, ROW, positions_of
from datalab.engine.session import Session
from datalab.engine.writing import ACCEPTED, Folder, Written
from datalab.lake.table import DataFile, Marking, Marks, WriteTarget

MOST_GONE = 0.25  # more, and a file is written again: reading past so many rows costs about as much


def _column(name: str, kind: pa.DataType, identifier: int) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=False, metadata={FIELD_ID: str(identifier)})


# As Iceberg wants it of position delete files.
_SCHEMA = pa.schema([_column("file_path", pa.string(), 2147483546), _column("pos", pa.int64(), 2147483545)])


def markable(target: WriteTarget, files: Iterable[DataFile], leaving: Mapping[str, int]) -> tuple[DataFile, ...]:
    """The files that so few rows leave, by path, that it is better to mark these than to write the others again."""
    return tuple(file for file in files if target.mark_rows and _is_markable(target, file, leaving[file.path]))


def _is_markable(target: WriteTarget, file: DataFile, leaving: int) -> bool:
    before = sum(marks.rows for marks in file.gone)
    whole = file.rows + before
    return whole >= target.mark_rows and before + leaving <= whole * MOST_GONE


def marked(session: Session, folder: Folder, files: Iterable[DataFile], places: str) -> tuple[Marking, ...]:
    """Marks of the rows of these files that are among `places`, a table of files and row numbers.

    A file has one delete file, which takes up what was marked before: where they outnumber the data files DuckDB joins
    badly.
    """
    known = {file.path: file for file in files}
    if not known:
        return ()
    place = f"SELECT {FILE} AS path, {ROW} AS row FROM {places}" + "".join(
        f" UNION ALL SELECT * FROM {positions_of(file.gone)}" for file in known.values() if file.gone
    )
    rows = session.arrow(f"SELECT path, list(row ORDER BY row) AS rows FROM ({place}) GROUP BY path")
    paths, positions = rows.column("path").to_pylist(), rows.column("rows")
    drafts = [
        _written(folder.path, known[path], positions[index].values) for index, path in enumerate(paths) if path in known
    ]
    kept = folder.keep(Written(ACCEPTED, draft) for _, draft in drafts)
    return tuple(
        Marking(file, (Marks(draft.path, draft.rows, draft.size),), joined=bool(file.gone))
        for (file, _), draft in zip(drafts, kept, strict=True)
    )


def _written(folder: Path, file: DataFile, positions: pa.Array) -> tuple[DataFile, DataFile]:
    path = folder / f"gone-{uuid4().hex}.parquet"
    table = pa.table([pa.repeat(file.path, len(positions)), positions.cast(pa.int64())], schema=_SCHEMA)
    with translated(str(folder)):
        pq.write_table(table, path, compression="zstd")
        return file, DataFile(str(path), len(positions), path.stat().st_size)
