"""INT96 timestamps of Parquet files, whole: as nanoseconds, the way Arrow reads them, they wrap beside 1677 to 2262."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_types = pa.types
_FAR = 1 << 53  # milliseconds beyond any year that is taken; as microseconds they still are 64 bits


@dataclass(frozen=True)
class Int96:
    """The columns of a file that hold INT96 somewhere, and the file as read with milliseconds for them."""

    coarse: pq.ParquetFile | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: pq.ParquetFile, coarse: Callable[[], pq.ParquetFile]) -> Int96:
        """`coarse` opens the file once more, to read INT96 as milliseconds; it is called only where there are any."""
        if not any(file.schema.column(at).physical_type == "INT96" for at in range(len(file.schema))):
            return cls()
        other = coarse()
        pairs = zip(file.schema_arrow, other.schema_arrow, strict=True)
        return cls(other, tuple(fine.name for fine, read in pairs if fine.type != read.type))

    def of_group(self, group: int) -> dict[str, pa.ChunkedArray]:
        """These columns of a row group, by name, with milliseconds."""
        if self.coarse is None:
            return {}
        read = self.coarse.read_row_group(group, columns=list(self.names), use_threads=False)
        return {name: read.column(name) for name in self.names}


def exact(fine: pa.Array, coarse: pa.Array) -> pa.Array:
    """A column as nanoseconds (mod 2^64) and as milliseconds -> each timestamp as {micros: int64, finer: bool}."""
    kind = fine.type
    if _types.is_struct(kind):
        made = [exact(*pair) for pair in zip(fine.flatten(), coarse.flatten(), strict=True)]
        return pa.StructArray.from_arrays(made, names=[each.name for each in kind], mask=fine.is_null())
    if _types.is_map(kind):
        pairs = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        other = pa.struct([("key", coarse.type.key_type), ("value", coarse.type.item_type)])
        return exact(fine.cast(pa.large_list(pairs)), coarse.cast(pa.large_list(other)))
    if _types.is_list(kind) or _types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(fine), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
        return pa.LargeListArray.from_arrays(offsets, exact(fine.flatten(), coarse.flatten()), mask=fine.is_null())
    return _moments(fine, coarse) if kind != coarse.type and _types.is_timestamp(kind) else fine


def _moments(fine: pa.Array, coarse: pa.Array) -> pa.Array:
    millis, nanos = _ticks(coarse), _ticks(fine)
    below = nanos - millis * 1_000_000  # wraps as `nanos` did, and so leaves what is below the millisecond
    micros = np.clip(millis, -_FAR, _FAR) * 1_000 + below // 1_000
    finer = below % 1_000 != 0
    made = [pa.array(micros), pa.array(finer)]
    return pa.StructArray.from_arrays(made, names=["micros", "finer"], mask=fine.is_null())


def _ticks(array: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(array.view(pa.int64()), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
