"""Text by the line: bytes as an Arrow array of lines without a copy, in chunks that end where a line ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datalab.ingest.decode.parts import Part, Rows
from datalab.ingest.decode.spans import Span
from datalab.ingest.reasons import Reason, Reject

BOM = b"\xef\xbb\xbf"
NEWLINE = 10


@dataclass(frozen=True)
class Lines:
    """Raw records (large_binary, line ends included) and the record number of each."""

    raw: pa.Array
    rows: Rows

    def taken(self, keep: npt.NDArray[np.bool_]) -> Lines:
        """The records where `keep` is true."""
        return Lines(self.raw.filter(pa.array(keep)), self.rows[keep])

    def texts(self, at: Sequence[int]) -> list[bytes]:
        """The raw bytes of some records, without their line ends."""
        return [self.raw[index].as_py().rstrip(b"\r\n") for index in at]


def cut(data: memoryview, ends: npt.NDArray[np.int64]) -> pa.Array:
    """`data` as a large_binary array whose values end at `ends`; no bytes are copied."""
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends.astype(np.int64)])
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(ends), buffers)


def start_of_text(data: memoryview) -> int:
    """The offset behind a byte order mark, if there is one."""
    return len(BOM) if bytes(data[: len(BOM)]) == BOM else 0


def line_ends(data: memoryview) -> npt.NDArray[np.int64]:
    """The offset behind each line of `data`, a last line without a line end included."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == NEWLINE) + 1
    return np.append(ends, len(data)) if len(data) and (not len(ends) or ends[-1] != len(data)) else ends


def chunks_of_lines(data: memoryview, size: int) -> Iterator[memoryview]:
    """`data` in pieces of about `size` bytes, each ending at a line end."""
    at = start_of_text(data)
    while at < len(data):
        stop = end_of_line(data, min(at + size, len(data)))
        yield data[at:stop]
        at = stop


def end_of_line(data: memoryview, at: int) -> int:
    """The offset behind the line end at or behind `at - 1`; the end of the data where there is none."""
    step = 1 << 16
    for start in range(max(at - 1, 0), len(data), step):
        found = bytes(data[start : start + step]).find(b"\n")
        if found >= 0:
            return start + found + 1
    return len(data)


def within(lines: Lines, span: Span | None) -> Lines:
    """The records of the span."""
    if span is None:
        return lines
    return lines.taken((lines.rows >= span.start) & (lines.rows < span.stop))


def too_long(lines: Lines, limit: int) -> tuple[Lines, Part]:
    """Records of at most `limit` bytes, and the others refused."""
    long = pc.greater(pc.binary_length(lines.raw), limit).to_numpy(zero_copy_only=False).astype(bool)
    return _set_aside(lines, long, Reason.TOO_LARGE, f"the record is longer than {limit} bytes")


def not_text(lines: Lines) -> tuple[Lines, Part]:
    """Records in UTF-8, and the others refused."""
    try:
        pc.cast(lines.raw, pa.large_string())
    except pa.ArrowInvalid:
        bad = np.fromiter((not _is_utf8(raw.as_py()) for raw in lines.raw), dtype=bool, count=len(lines.raw))
        return _set_aside(lines, bad, Reason.INVALID_UTF8, "the record is not UTF-8")
    return lines, Part()


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _set_aside(lines: Lines, bad: npt.NDArray[np.bool_], reason: Reason, words: str) -> tuple[Lines, Part]:
    if not bad.any():
        return lines, Part()
    at = np.flatnonzero(bad).tolist()
    rejects = (Reject.of(int(lines.rows[i]), reason, words, raw) for i, raw in zip(at, lines.texts(at), strict=True))
    return lines.taken(~bad), Part(rejects=tuple(rejects))


def contiguous(array: pa.Array) -> memoryview:
    """The bytes of all values of a large_binary array, one after the other."""
    if not len(array):
        return memoryview(b"")
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])]
