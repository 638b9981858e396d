"""The formats of files: which decoder reads which, and bytes that were compressed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from datalab.ingest.contracts import Contract
from datalab.ingest.decode.container import Unreadable
from datalab.ingest.decode.parts import Described, Part, refused
from datalab.ingest.decode.scarcity import require_memory
from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import WHOLE, Reason
from datalab.plugins import load

_PIECE = 1 << 20

Decoder = Callable[[memoryview, Contract, Limits, Span | None], Iterator[Part]]
Counter = Callable[[memoryview, Limits], int]
Describer = Callable[[memoryview, Limits, int], Described]

# Each module is loaded when the first file of its format comes: a worker that reads Avro needs no other reader.
DECODERS = {
    "avro": "datalab.ingest.decode.avro:decode_avro",
    "csv": "datalab.ingest.decode.csv:decode_csv",
    "jsonl": "datalab.ingest.decode.jsonl:decode_jsonl",
    "parquet": "datalab.ingest.decode.parquet:decode_parquet",
}
_COUNTERS = {
    "avro": "datalab.ingest.decode.avro:count_blocks",
    "csv": "datalab.ingest.decode.csv:count_records",
    "jsonl": "datalab.ingest.decode.jsonl:count_lines",
    "parquet": "datalab.ingest.decode.parquet:count_groups",
}
_DESCRIBERS = {
    "avro": "datalab.ingest.decode.avro:describe_block",
    "csv": "datalab.ingest.decode.csv:describe_record",
    "jsonl": "datalab.ingest.decode.jsonl:describe_line",
    "parquet": "datalab.ingest.decode.parquet:describe_group",
}


def decode(data: memoryview, kind: str, contract: Contract, limits: Limits, span: Span | None = None) -> Iterator[Part]:
    """The parts of a file; `kind` is a format, with `.gz` behind it where the bytes are compressed."""
    try:
        plain = plain_bytes(data, kind, limits)
    except Unreadable as problem:
        yield refused(WHOLE, problem.reason, problem.detail, data)
        return
    decoder: Decoder = load(DECODERS[kind.removesuffix(".gz")])
    yield from decoder(plain, contract, limits, span)


def count_units(data: memoryview, kind: str, limits: Limits) -> int:
    """How many units (see Span) a file has."""
    counter: Counter = load(_COUNTERS[kind.removesuffix(".gz")])
    return counter(plain_bytes(data, kind, limits), limits)


def describe_unit(data: memoryview, kind: str, limits: Limits, unit: int) -> Described:
    """A unit's first record number, how many records it stands for, and its bytes."""
    describer: Describer = load(_DESCRIBERS[kind.removesuffix(".gz")])
    return describer(plain_bytes(data, kind, limits), limits, unit)


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
            require_memory(error)
            raise Unreadable(Reason.CORRUPT_FILE, "the gzip archive is damaged") from error
        if not stream.eof:
            raise Unreadable(Reason.CORRUPT_FILE, "the gzip archive ends early")
        rest = stream.unused_data
    return memoryview(bytes(out))
