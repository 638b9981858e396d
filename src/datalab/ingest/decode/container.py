"""Avro object container files, walked without trust: header, block borders, bounded decompression."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from datalab.ingest.decode.scarcity import require_memory
from datalab.ingest.reasons import Reason

MAGIC = b"Obj\x01"
SYNC = 16
_MAX_HEADER = 2 << 20
_MAX_VARINT = 10
_TOO_WIDE = ("memory usage limit", "too much memory")  # what lzma and Zstandard call a window beyond their bounds
CODECS = frozenset({"null", "deflate", "snappy", "zstandard", "bzip2", "xz"})


class Unreadable(Exception):
    """A file, or a block of it, that cannot be read; carries the reason for quarantine."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Header:
    """The header of a container; `schema` is JSON as it stands there, `end` the offset of the first block."""

    schema: bytes
    codec: str
    sync: bytes
    end: int


@dataclass(frozen=True)
class Block:
    """One block: its body lies at `start` to `stop`, the next block begins at `end`.

    `problem` is empty where count, size and sync marker agree with each other. `count` is as declared, not trusted.
    """

    start: int
    stop: int
    end: int
    count: int
    problem: str = ""


def read_long(data: memoryview, at: int) -> tuple[int, int]:
    """A zigzag variable-length integer and the offset behind it; ValueError where there is none."""
    value = shift = 0
    for offset in range(at, min(at + _MAX_VARINT, len(data))):
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), offset + 1
        shift += 7
    raise ValueError("no integer here")


def write_long(value: int) -> bytes:
    """The zigzag variable-length form of an integer of 64 bits."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def read_header(data: memoryview) -> Header:
    """The header; Unreadable where it is damaged."""
    try:
        metadata, at = _metadata(data[:_MAX_HEADER], len(MAGIC))
    except ValueError as error:
        raise Unreadable(Reason.CORRUPT_FILE, f"the file's header is damaged: {error}") from error
    if b"avro.schema" not in metadata:
        raise Unreadable(Reason.CORRUPT_FILE, "not an Avro object container file")
    codec = metadata.get(b"avro.codec", b"null").decode("latin-1")
    if codec not in CODECS:
        raise Unreadable(Reason.UNSUPPORTED_CODEC, f"codec '{codec[:40]}' is none of {', '.join(sorted(CODECS))}")
    if at + SYNC > len(data):
        raise Unreadable(Reason.CORRUPT_FILE, "the file ends within its header")
    return Header(metadata[b"avro.schema"], codec, _sync(data, at), at + SYNC)


def _metadata(data: memoryview, at: int) -> tuple[dict[bytes, bytes], int]:
    found: dict[bytes, bytes] = {}
    while True:
        count, at = read_long(data, at)
        if count == 0:
            return found, at
        if count < 0:
            count, (_, at) = -count, read_long(data, at)
        for _ in range(count):
            key, at = _bytes(data, at)
            found[key], at = _bytes(data, at)


def _bytes(data: memoryview, at: int) -> tuple[bytes, int]:
    size, at = read_long(data, at)
    if size < 0 or at + size > len(data):
        raise ValueError("a text is longer than the header")
    return bytes(data[at : at + size]), at + size


def _sync(data: memoryview, at: int) -> bytes:
    """The sync marker; where the header's copy is the damaged one, the marker that ends the blocks."""
    sync, last = bytes(data[at : at + SYNC]), bytes(data[-SYNC:])
    if sync == last or find(data, sync, at + SYNC) >= 0 or len(data) < at + 2 * SYNC:
        return sync
    block = _framed(data, at + SYNC, last)
    return sync if block.problem else last


def find(data: memoryview, sync: bytes, at: int) -> int:
    """The offset of the next sync marker at or behind `at`, or -1."""
    match = re.compile(re.escape(sync)).search(data, at)
    return match.start() if match else -1


def walk(data: memoryview, header: Header) -> Iterator[Block]:
    """All blocks in order. Damage ends at the next sync marker; what lies between is one block with a problem."""
    at = header.end
    while at < len(data):
        block = _framed(data, at, header.sync)
        if block.problem and not _only_marker_damaged(data, block, header.sync):
            block = _up_to_marker(data, block, header.sync)
        yield block
        at = block.end


def _framed(data: memoryview, at: int, sync: bytes) -> Block:
    try:
        count, after = read_long(data, at)
        size, start = read_long(data, after)
    except ValueError:
        return Block(at, at, at, 0, "the block's header is damaged")
    stop = start + size
    if count < 0 or size < 0:
        return Block(start, start, start, 0, "the block's header is damaged")
    if stop + SYNC > len(data):
        return Block(start, min(stop, len(data)), len(data), count, "the file ends within the block")
    problem = "" if bytes(data[stop : stop + SYNC]) == sync else "no sync marker where the block ends"
    return Block(start, stop, stop + SYNC, count, problem)


def _only_marker_damaged(data: memoryview, block: Block, sync: bytes) -> bool:
    return block.end > block.stop and block.end < len(data) and not _framed(data, block.end, sync).problem


def _up_to_marker(data: memoryview, block: Block, sync: bytes) -> Block:
    found = find(data, sync, block.start)
    stop, end = (found, found + SYNC) if found >= 0 else (len(data), len(data))
    return Block(block.start, stop, end, block.count, block.problem)


def decompress(codec: str, body: memoryview, limit: int) -> bytes | memoryview:
    """A block's plain bytes; Unreadable where they are damaged or more than `limit`."""
    try:
        plain = _decompress(codec, body, limit)
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
        require_memory(error)
        if any(words in str(error).lower() for words in _TOO_WIDE):
            raise Unreadable(Reason.TOO_LARGE, f"the block takes too much memory to decompress ({codec})") from error
        raise Unreadable(Reason.CORRUPT_BLOCK, f"the block cannot be decompressed ({codec})") from error
    if len(plain) > limit:
        raise Unreadable(Reason.TOO_LARGE, f"the block decompresses to more than {limit} bytes")
    return plain


def _decompress(codec: str, body: memoryview, limit: int) -> bytes | memoryview:
    if codec == "null":
        return body
    if codec == "deflate":
        return _inflate(body, limit)
    if codec == "bzip2":
        return bz2.BZ2Decompressor().decompress(bytes(body), limit + 1)
    if codec == "xz":
        return lzma.LZMADecompressor(memlimit=256 << 20).decompress(bytes(body), limit + 1)
    if codec == "zstandard":
        with pa.input_stream(pa.py_buffer(body), compression="zstd") as stream:
            return bytes(stream.read(limit + 1))
    return _snappy(body, limit)


def _inflate(body: memoryview, limit: int) -> bytes:
    """Raw deflate; of a damaged stream what comes before the damage, if anything does."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, limit + 1)
    except zlib.error as error:
        require_memory(error)
        plain = b"".join(_sound_part(body, limit))
        if not plain:
            raise
        return plain


def _sound_part(body: memoryview, limit: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    for step in (4_096, 1):
        while body and limit >= 0:
            before = stream.copy()
            try:
                plain = stream.decompress(body[:step], limit + 1)
            except zlib.error:
                stream = before
                break
            yield plain
            body, limit = body[step:], limit - len(plain)


def _snappy(body: memoryview, limit: int) -> bytes:
    """Snappy's own preamble says the plain size; Avro appends a big-endian CRC-32 of the plain bytes."""
    size = shift = 0
    for byte in body[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > limit:
        return bytes(limit + 1)
    plain = bytes(pa.Codec("snappy").decompress(pa.py_buffer(body[:-4]), size, asbytes=True))
    if zlib.crc32(plain).to_bytes(4, "big") != bytes(body[-4:]):
        raise ValueError("checksum")
    return plain
