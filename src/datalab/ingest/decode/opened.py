"""Files as bytes: opened without a copy where they are large, decompressed within bounds, named by their content."""

from __future__ import annotations

import hashlib
import mmap
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datalab.ingest.contracts import Contract
from datalab.ingest.decode.avro import count_blocks, decode_avro, describe_block
from datalab.ingest.decode.container import Unreadable
from datalab.ingest.decode.csv import count_records, decode_csv, describe_record
from datalab.ingest.decode.jsonl import count_lines, decode_jsonl, describe_line
from datalab.ingest.decode.parquet import count_groups, decode_parquet, describe_group
from datalab.ingest.decode.parts import Described, Part, refused
from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import WHOLE, Reason

_MAPPED = 64 << 20
_PIECE = 1 << 20

Decoder = Callable[[memoryview, Contract, Limits, Span | None], Iterator[Part]]
DECODERS: dict[str, Decoder] = {
    "avro": decode_avro,
    "csv": decode_csv,
    "jsonl": decode_jsonl,
    "parquet": decode_parquet,
}
COUNTERS: dict[str, Callable[[memoryview, Limits], int]] = {
    "avro": lambda data, _limits: count_blocks(data),
    "csv": count_records,
    "jsonl": count_lines,
    "parquet": lambda data, _limits: count_groups(data),
}
DESCRIBERS: dict[str, Callable[[memoryview, Limits, int], Described]] = {
    "avro": describe_block,
    "csv": describe_record,
    "jsonl": describe_line,
    "parquet": describe_group,
}


class Unstable(Exception):
    """A file changed while it was read: it is still being written."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def content_hash(data: memoryview) -> str:
    """16 hex characters that name a content."""
    return hashlib.sha256(data).hexdigest()[:16]


def version_of(status: os.stat_result, digest: str) -> str:
    """What a file was when it was read: size, modification time, content."""
    return f"{status.st_size}-{status.st_mtime_ns}-{digest}"


@contextmanager
def opened(path: str) -> Iterator[tuple[memoryview, str]]:
    """A file's bytes and version. Unstable where it changed meanwhile, at the latest when it is closed again."""
    with Path(path).open("rb") as file:
        before = os.fstat(file.fileno())
        if before.st_size >= _MAPPED:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                data = memoryview(mapped)
                try:
                    yield data, version_of(before, content_hash(data))
                    _require_same(path, before)
                finally:
                    del data
            return
        data = memoryview(file.read())
    _require_same(path, before)
    yield data, version_of(before, content_hash(data))


def _require_same(path: str, before: os.stat_result) -> None:
    after = Path(path).stat()
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        raise Unstable(path)


def decode(data: memoryview, kind: str, contract: Contract, limits: Limits, span: Span | None = None) -> Iterator[Part]:
    """The parts of a file; `kind` is a format, with `.gz` behind it where the bytes are compressed."""
    try:
        plain = plain_bytes(data, kind, limits)
    except Unreadable as problem:
        yield refused(WHOLE, problem.reason, problem.detail, data)
        return
    yield from DECODERS[kind.removesuffix(".gz")](plain, contract, limits, span)


def count_units(data: memoryview, kind: str, limits: Limits) -> int:
    """How many units (see Span) a file has."""
    return COUNTERS[kind.removesuffix(".gz")](plain_bytes(data, kind, limits), limits)


def describe_unit(data: memoryview, kind: str, limits: Limits, unit: int) -> Described:
    """A unit's first record number, how many records it stands for, and its bytes."""
    return DESCRIBERS[kind.removesuffix(".gz")](plain_bytes(data, kind, limits), limits, unit)


def plain_bytes(data: memoryview, kind: str, limits: Limits) -> memoryview:
    """The bytes, decompressed where `kind` says so. An archive that is damaged anywhere is Unreadable as a whole."""
    if not kind.endswith(".gz"):
        return data
    out = bytearray()
    rest = bytes(data)
    while rest:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            while not stream.eof and rest:
                out += stream.decompress(rest, _PIECE)
                rest = stream.unconsumed_tail
                if len(out) > limits.plain_bytes:
                    raise Unreadable(Reason.TOO_LARGE, f"decompresses to more than {limits.plain_bytes} bytes")
        except zlib.error as error:
            raise Unreadable(Reason.CORRUPT_FILE, "the gzip archive is damaged") from error
        if not stream.eof:
            raise Unreadable(Reason.CORRUPT_FILE, "the gzip archive ends early")
        rest = stream.unused_data
    return memoryview(bytes(out))
