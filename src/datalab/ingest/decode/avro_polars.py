"""Avro blocks through polars. Apart from everything else, since what can be read field by field needs none of it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl
import pyarrow as pa


def read(container: bytes, count: int, dropped: str | None) -> pl.DataFrame | None:
    """The records of a container in memory without the field `dropped`; None unless there are `count` of them."""
    try:
        frame = pl.read_avro(io.BytesIO(container))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        return None
    if frame.height != count:
        return None
    if dropped:
        frame.drop_in_place(dropped)
    return frame


def join(frames: Sequence[pl.DataFrame]) -> pa.StructArray:
    """Records of the same schema, one behind the other."""
    frame = frames[0] if len(frames) == 1 else pl.concat(frames)
    records = frame.to_arrow().combine_chunks().to_struct_array()
    return records.chunk(0) if isinstance(records, pa.ChunkedArray) else records
