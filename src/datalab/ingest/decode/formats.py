"""The formats of files: which decoder reads which, and bytes that were compressed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

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
