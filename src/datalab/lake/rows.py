"""Few rows that are in memory, as a data file: Arrow writes them, and no engine is opened for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from datalab.lake.commit import storage_errors
from datalab.lake.formats.parquet import described
from datalab.lake.table import DataFile, WriteTarget


def write_rows(target: WriteTarget, rows: pa.Table) -> DataFile:
    """Rows as a new file of a target without partitions; columns that they lack are NULL. StorageFull, LakeError.

    ValueError where the target lacks one of their columns.
    """
    fitted = pa.concat_tables([target.schema.empty_table(), rows], promote_options="permissive").cast(target.schema)
    content = pa.BufferOutputStream()  # Arrow's writers of files complain once more of a full disk
    footers: list[Any] = []
    pq.write_table(
        fitted,
        content,
        compression=target.compression,
        store_schema=False,
        store_decimal_as_integer=True,
        metadata_collector=footers,
    )
    path = Path(target.location.removeprefix("file://")) / f"dl-{uuid4()}.parquet"
    with storage_errors(target.name, "writing rows"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(content.getvalue())
            return described(path, footers.pop(), ())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
