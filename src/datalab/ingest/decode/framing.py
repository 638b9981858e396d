"""The registry's wire format around a message's record: a magic byte and four bytes of schema id; all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

HEAD = 5
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


def distinct(ids: Ids) -> list[int]:
    """The ids that occur; most often it is one."""
    if len(ids) and bool((ids == ids[0]).all()):
        return [int(ids[0])]
    found: list[int] = np.unique(ids).tolist()
    return found
