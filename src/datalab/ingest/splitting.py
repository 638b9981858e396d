"""Decoded records by the partition that they belong to; the values are those of Iceberg's transforms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datalab.lake.table import PartitionField

Key = tuple[Any, ...]
Codes = npt.NDArray[np.int64]

_FEW = 16
_COUNTED = 1 << 12  # so many different codes are counted in a table of them; of more, those that occur are sorted
_UNITS = {"years": "Y", "months": "M", "days": "D", "hours": "h"}


def split(records: pa.Table, partition: Sequence[PartitionField]) -> Iterator[tuple[Key, pa.Table]]:
    """The rows of each partition with its values, in any order; years, months, days, hours count from 1970."""
    if not partition or not records.num_rows:
        yield (), records
        return
    codes, keys = _combined([_coded(records.column(each.column), each.transform) for each in partition])
    if len(keys) == 1:
        yield keys[0], records
    else:
        yield from _sorted(records, codes, keys)


def _sorted(records: pa.Table, codes: Codes, keys: Sequence[Key]) -> Iterator[tuple[Key, pa.Table]]:
    if len(keys) <= _FEW:  # copies of their own: slices of one table would hold on to all of it
        for code, key in enumerate(keys):
            yield key, pc.take(records, pa.array(np.flatnonzero(codes == code)), boundscheck=False)
        return
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(keys)), side="right").tolist()
    rows = records.take(pa.array(order))
    for key, start, end in zip(keys, [0, *ends], ends, strict=False):
        yield key, rows.slice(start, end - start)


def _combined(fields: Sequence[tuple[Codes, list[Any]]]) -> tuple[Codes, list[Key]]:
    """One code per row for all partition fields together, and the values that each code stands for."""
    joined = np.zeros(len(fields[0][0]), dtype=np.int64)
    for codes, values in fields:
        joined = joined * len(values) + codes
    present, dense = _dense(joined, math.prod(len(values) for _, values in fields))
    keys = []
    for code in present.tolist():
        key: list[Any] = []
        rest = code
        for _, values in reversed(fields):
            rest, at = divmod(rest, len(values))
            key.append(values[at])
        keys.append(tuple(reversed(key)))
    return dense, keys


def _dense(codes: Codes, bound: int) -> tuple[Codes, Codes]:
    """The codes that occur, ascending, and each one's place among them; all are below `bound`."""
    if bound > _COUNTED:
        present, places = np.unique(codes, return_inverse=True)
        return present, places.astype(np.int64)
    counts = np.bincount(codes, minlength=bound)
    return np.flatnonzero(counts), (np.cumsum(counts > 0) - 1)[codes]


def _coded(column: pa.ChunkedArray, transform: str) -> tuple[Codes, list[Any]]:
    if transform != "identity":
        if _is_one(column):
            return np.zeros(len(column), dtype=np.int64), _counted(column[:1], _UNITS[transform]).to_pylist()
        column = _counted(column, _UNITS[transform])
    coded = column.combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode(null_encoding="encode")
    whole = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    values = [_plain(value) for value in whole.dictionary.to_pylist()]
    codes = pc.fill_null(whole.indices, len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*values, None]


def _is_one(column: pa.ChunkedArray) -> bool:
    """Whether all values are the same, as the moment of ingestion is."""
    bounds = pc.min_max(column)
    return not column.null_count and bounds["min"].equals(bounds["max"])


def _counted(column: pa.ChunkedArray, unit: str) -> pa.ChunkedArray:
    """Whole units since 1970, rounded down; NULL stays NULL."""
    if pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("us"))
    micros = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy().view("datetime64[us]")
    counted = micros.astype(f"datetime64[{unit}]").astype(np.int32)
    return pa.chunked_array([pa.array(counted, mask=column.is_null().to_numpy())])


def _plain(value: Any) -> Any:
    """NaN has no partition of its own: it goes with NULL, as the engines have it."""
    return None if isinstance(value, float) and math.isnan(value) else value
