"""The registry's wire format around a message's record: a magic byte and four bytes of schema id; all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datalab.ingest.native.library import is_wanted, records_library

HEAD = 5
_WORD = 8
NO_SCHEMA = -1

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Schemas:
    """What the registry said: texts by id, and in words why there is none."""

    texts: dict[int, bytes]
    missing: dict[int, str]


def schema_ids(values: pa.LargeBinaryArray) -> Ids:
    """The schema id of each message; NO_SCHEMA where the value is null or not in the wire format."""
    count = len(values)
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64, count=count + 1 + values.offset)[values.offset :]
    sizes = np.diff(starts)
    framed = sizes > HEAD
    whole = data is not None and data.size >= HEAD
    bytes_ = np.frombuffer(data, dtype=np.uint8) if whole else np.zeros(HEAD, np.uint8)
    at = np.where(framed, starts[:-1], 0)
    words = np.ndarray((len(bytes_) - 3,), dtype=">u4", buffer=bytes_, strides=(1,))  # one at each offset
    return np.where(framed & (bytes_[at] == 0), words[at + 1].astype(np.int64), NO_SCHEMA)


def distinct(values: pa.LargeBinaryArray) -> dict[int, Ids]:
    """The schema ids that occur, and the numbers of the messages of each."""
    only = _only_id(values)
    if only is not None:
        return {only: np.arange(len(values))}
    ids = schema_ids(values)
    return {each: np.flatnonzero(ids == each) for each in np.unique(ids).tolist()}


def _only_id(values: pa.LargeBinaryArray) -> int | None:
    """The schema id that all messages have, as is usual. None where it takes a closer look."""
    count = len(values)
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64, count=count + 1 + values.offset)[values.offset :]
    if not count or data is None or data.size - starts[-1] < _WORD:
        return None
    library = records_library() if is_wanted() else None
    if library is not None:
        found = library.records_schema(data.address, starts.ctypes.data, count)
        return None if found < 0 else int(found)
    if np.diff(starts).min() <= HEAD:
        return None
    words = np.ndarray((data.size - _WORD + 1,), dtype="<u8", buffer=data, strides=(1,))  # one at each offset
    heads = words[starts[:-1]] & np.uint64((1 << 8 * HEAD) - 1)
    magic, *four = int(heads[0]).to_bytes(HEAD, "little")
    return None if magic or (heads != heads[0]).any() else int.from_bytes(bytes(four), "big")
