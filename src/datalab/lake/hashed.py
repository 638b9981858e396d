"""Rows found by the hash of a key: files in order of the hash, mapped into memory and searched by halves.

The hash is our own, of the bits of a value, so that no version of a library changes it. Equal values have equal hashes,
others may: what is found has to be compared.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datalab.lake.commit import storage_errors
from datalab.lake.mapped import mapped, write_mapped
from datalab.lake.recent import Recent
from datalab.lake.table import DataFile
from datalab.names import TableName

Hashes = npt.NDArray[np.uint64]
FileId = tuple[str, int]

HASH = "_hash"
LARGE = 100_000  # rows of a file; those of a smaller one are found about as fast without
_MARK, _FORM = b"datalab.hashed", "2"
_BATCH_ROWS = 65_536
_BLOCK = 4096
_WORD, _WORDS = 8, 4  # of a long text so many words from its beginning and from its end
_SUMS = Recent[tuple[str, int, int], str](256)
_FACTOR, _NULL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x5851F42D4C957F2D)


def is_hashable(kind: pa.DataType) -> bool:
    """Whether equal values of a type have the same bits, and bits of a kind that is hashed here."""
    whole = pa.types.is_signed_integer(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind)
    return bool(whole or pa.types.is_string(kind) or pa.types.is_binary(kind))


@dataclass(frozen=True)
class Hashed:
    """Rows in order of the hash of their key, none of them read yet; `files` are the data files that they tell of."""

    rows: pa.Table
    files: tuple[FileId, ...]


def file_id(file: DataFile) -> FileId:
    """The name of a data file and the number of its rows, with those that are marked as gone: they may come back."""
    return Path(file.path).name, file.rows + sum(marks.rows for marks in file.gone)


def write_hashed(
    name: TableName, location: str, keys: pa.ChunkedArray, rows: pa.Table, files: Iterable[DataFile]
) -> DataFile:
    """Write rows that tell of data files, in order of the hash of their keys. Its checksum is part of its name."""
    hashes = hashes_of(keys)
    order = np.argsort(hashes)
    note = {_MARK: json.dumps({"form": _FORM, "files": [*map(file_id, files)]}).encode()}
    schema = rows.schema.append(pa.field(HASH, pa.uint64())).with_metadata(note)
    whole = rows.append_column(HASH, pa.array(hashes)).combine_chunks()
    parts = (whole.take(pa.array(order[at : at + _BATCH_ROWS])) for at in range(0, len(order), _BATCH_ROWS))
    written = write_mapped(name, location, schema, (batch for part in parts for batch in part.to_batches()))
    draft = Path(written.path)
    sealed = draft.with_stem(f"{draft.stem}-{_checksum(written.path)}")
    with storage_errors(name, "keeping rows beside it"):
        draft.rename(sealed)
    return replace(written, path=str(sealed))


def trusted(files: Sequence[DataFile]) -> Hashed | None:
    """What was kept in one file; None where there is none, or where it is not as it was written."""
    if len(files) != 1:
        return None
    try:
        return opened(files[0])
    except (OSError, ValueError):
        return None


def opened(file: DataFile) -> Hashed:
    """All of a file. ArrowInvalid, OSError, ValueError where it is not as it was written.

    A process reads it once as a whole, to compare its checksum: 0.014 s of CPU for 80 MB.
    """
    status = Path(file.path).stat()
    found = _SUMS.get((file.path, status.st_ino, status.st_mtime_ns), lambda: _checksum(file.path))
    if found != Path(file.path).stem.rpartition("-")[2]:
        raise ValueError(f"{file.path} is damaged")
    rows = mapped(file)
    return Hashed(rows, _files_of(rows))


def _checksum(path: str) -> str:
    """The CRC32 of the sums of all blocks, a third of the time of one over the bytes themselves."""
    content = pa.memory_map(path).read_buffer()
    whole = len(content) // _BLOCK * _BLOCK
    blocks = np.frombuffer(content, np.uint64, whole // _WORD).reshape(-1, _BLOCK // _WORD)
    sums = blocks.sum(axis=1, dtype=np.uint64)
    return f"{zlib.crc32(memoryview(content)[whole:], zlib.crc32(sums.tobytes())):08x}"


def _files_of(rows: pa.Table) -> tuple[FileId, ...]:
    try:
        note = json.loads((rows.schema.metadata or {})[_MARK])
        files = tuple((str(name), int(count)) for name, count in note["files"])
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError("not a file in order of hashes") from error
    if note["form"] != _FORM or HASH not in rows.schema.names:
        raise ValueError("a file of another form")
    return files


def with_hashes(rows: pa.Table, values: pa.ChunkedArray) -> pa.Table:
    """The rows of a file whose key has the hash of one of some values, of the type of the key."""
    wanted = np.unique(hashes_of(values))
    found = (_with_hashes(batch, wanted) for batch in rows.to_batches() if batch.num_rows)
    return pa.Table.from_batches((batch for batch in found if batch.num_rows), rows.schema)


def _with_hashes(rows: pa.RecordBatch, wanted: Hashes) -> pa.RecordBatch:
    known = rows.column(HASH).to_numpy()
    first, last = np.searchsorted(wanted, known[0], "left"), np.searchsorted(wanted, known[-1], "right")
    near = wanted[first:last]
    begin, end = np.searchsorted(known, near, "left"), np.searchsorted(known, near, "right")
    counts = end - begin
    return rows.take(pa.array(np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())))


def hashes_of(values: pa.ChunkedArray) -> Hashes:
    """A hash of each value."""
    return np.concatenate([_hashed(chunk) for chunk in values.chunks] or [np.empty(0, np.uint64)])


def _hashed(values: pa.Array) -> Hashes:
    text = pa.types.is_string(values.type) or pa.types.is_binary(values.type)
    hashes = _of_bytes(values) if text else _mixed(_numbers(values))
    if values.null_count:
        hashes[values.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return hashes


def _numbers(values: pa.Array) -> Hashes:
    bits = pa.int32() if values.type.bit_width == 32 and not pa.types.is_integer(values.type) else pa.int64()
    plain = values.view(bits) if not pa.types.is_integer(values.type) else values
    whole: npt.NDArray[np.int64] = plain.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return whole.view(np.uint64)


def _of_bytes(values: pa.Array) -> Hashes:
    _, borders, content = values.buffers()
    count = len(values)
    ends = (
        np.frombuffer(borders, np.int32, count + 1, values.offset * 4).astype(np.int64) if count else np.zeros(1, int)
    )
    lengths = np.diff(ends)
    padded = np.concatenate([np.frombuffer(content or b"", np.uint8), np.zeros(_WORD, np.uint8)])
    words = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))
    hashes = _mixed(lengths.astype(np.uint64))
    for start, size in _words(ends[:-1], lengths):
        kept = words[start] & _LOW[size]
        hashes = np.where(size > 0, _mixed(hashes ^ kept), hashes)
    return hashes


_LOW = np.array([(1 << (8 * size)) - 1 for size in range(_WORD + 1)], np.uint64)


def _words(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> list[tuple[Any, Any]]:
    """Where the words of each value begin, and how many of their bytes belong to it."""
    longest = int(lengths.max(initial=0))
    found: list[tuple[Any, Any]] = []
    for number in range(min(_WORDS, -(-longest // _WORD))):
        size = np.clip(lengths - number * _WORD, 0, _WORD)
        found.append((np.where(size > 0, starts + number * _WORD, starts), size))
    for number in range(1, _WORDS + 1 if longest > _WORDS * _WORD else 1):
        size = np.where(lengths > _WORDS * _WORD, _WORD, 0)
        found.append((np.where(size > 0, starts + lengths - number * _WORD, starts), size))
    return found


def _mixed(values: Hashes) -> Hashes:
    with np.errstate(over="ignore"):
        spread = values * _FACTOR
        return (spread ^ (spread >> np.uint64(32))) * _FACTOR
