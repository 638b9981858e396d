"""The content hash of a table: equal for equal rows in equal order, however they lie in memory or in files."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS = 65_536


def content_hash(rows: pa.Table) -> str:
    """SHA-256 over names, types and values, NULLs apart from every value; -0.0 counts as 0.0, every NaN as one."""
    digest = hashlib.sha256()
    for field in rows.schema:
        digest.update(f"{field.name}\0{field.type}\0".encode())
    for start in range(0, rows.num_rows, _ROWS):
        part = rows.slice(start, _ROWS)
        for column in part.columns:
            _add(digest, column.combine_chunks())
    return digest.hexdigest()


def _add(digest: Any, column: pa.Array) -> None:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    digest.update(np.packbits(column.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        _add_texts(digest, column)
    elif pa.types.is_list(kind):
        digest.update(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).tobytes())
        _add(digest, column.flatten())
    elif pa.types.is_struct(kind):
        for child in column.flatten():
            _add(digest, child)
    elif pa.types.is_decimal(kind) or pa.types.is_map(kind):
        digest.update(repr(column.to_pylist()).encode())
    else:
        digest.update(_numbers(column).tobytes())


def _add_texts(digest: Any, column: pa.Array) -> None:
    texts = pc.fill_null(column.cast(pa.large_binary()), b"")
    digest.update(pc.binary_length(texts).to_numpy(zero_copy_only=False).tobytes())
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = texts.buffers()[2]
    if data is not None and len(texts):
        digest.update(memoryview(data)[offsets[0] : offsets[-1]])


def _numbers(column: pa.Array) -> np.ndarray[Any, Any]:
    kind = column.type
    if pa.types.is_floating(kind):
        values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False) + 0.0
        return np.where(np.isnan(values), np.nan, values)
    if pa.types.is_boolean(kind):
        return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), np.uint8)
    whole = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64()) if pa.types.is_temporal(kind) else column
    return np.asarray(pc.fill_null(whole, 0).to_numpy(zero_copy_only=False))
