"""Rows in Arrow files that are mapped into memory: to find a few of them, the others are not read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from datalab.lake.commit import storage_errors
from datalab.lake.table import DataFile
from datalab.names import TableName

_BATCH_ROWS = 65_536


def write_mapped(name: TableName, location: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> DataFile:
    """Write rows into a new file of a folder. They are not compressed: otherwise they could not be mapped."""
    folder = Path(location.removeprefix("file://"))
    path, rows = folder / f"rows-{uuid4().hex}.arrow", 0
    with storage_errors(name, "keeping rows beside it"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for batch in batches:
                    writer.write_table(pa.Table.from_batches([batch]).cast(schema), max_chunksize=_BATCH_ROWS)
                    rows += batch.num_rows
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return DataFile(str(path), rows, path.stat().st_size)


def mapped(file: DataFile) -> pa.Table:
    """All rows of a file, none of them read yet. ArrowInvalid where it is no such file."""
    return pa.ipc.open_file(pa.memory_map(file.path)).read_all()


def rows_at(file: DataFile, numbers: Sequence[int]) -> pa.Table:
    """The rows of a file that have these numbers, from 0, in order of their numbers."""
    rows, first, parts = mapped(file), 0, []
    places = sorted(numbers)
    for batch in rows.to_batches():
        last = first + batch.num_rows
        here = places[bisect_left(places, first) : bisect_left(places, last)]
        parts += [batch.take(pa.array([place - first for place in here], pa.int64()))] if here else []
        first = last
    return pa.Table.from_batches(parts, rows.schema)


def candidates(rows: pa.Table, keys: pa.Table) -> pa.Table:
    """Those rows whose key columns may equal a row of `keys`, NULL equal to NULL: each column by itself."""
    near = [_among(rows.column(key), keys.column(key)) for key in keys.schema.names if is_plain(rows.schema, key)]
    if not near:
        return rows
    both = near[0]
    for each in near[1:]:
        both = pc.and_(both, each)
    return rows.filter(both)


def _among(column: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=values.cast(column.type).combine_chunks())


def is_plain(schema: pa.Schema, key: str) -> bool:
    """Whether equal values of a column have the same bits: 0.0 and -0.0 have not."""
    kind = schema.field(key).type
    return not (pa.types.is_floating(kind) or pa.types.is_nested(kind))
