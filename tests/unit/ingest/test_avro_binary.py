"""Avro's binary form: what we write fastavro reads, byte for byte as it writes; what it refuses we refuse."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from tests.faults.mutants import mutants
from tests.unit.ingest.test_messages import SCHEMA, message, record

from datalab.ingest.avro_schema import parse_schema
from datalab.ingest.avro_writing import container, framed, writer_of
from datalab.ingest.decode.avro_binary import Malformed, reader_of
from datalab.ingest.decode.wire import wire_schema

KIND = parse_schema(SCHEMA)
WIRE = fastavro.parse_schema(wire_schema(KIND))
NUMBERS = [0, -1, 63, 64, -65, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]


def test_records_as_fastavro_writes_them() -> None:
    encode = writer_of(SCHEMA)
    for at in range(60):
        assert encode(record(at)) == message(record(at))[5:]


@pytest.mark.parametrize(
    "kind", ["long", "bytes", "float", {"type": "fixed", "name": "f", "size": 2}, ["string", "null"]]
)
def test_other_types(kind: Any) -> None:
    values: dict[str, list[Any]] = {"long": NUMBERS, "bytes": [b"", b"\xff" * 200], "float": [0.5, -1e30]}
    schema = {"type": "record", "name": "r", "fields": [{"name": "v", "type": kind}]}
    for value in values.get(str(kind), [None, "é"] if isinstance(kind, list) else [b"ab"]):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {"v": value})
        assert writer_of(schema)({"v": value}) == out.getvalue()
        read, end = reader_of(parse_schema(schema))(out.getvalue(), 0)
        assert end == len(out.getvalue())
        assert read["v"] == pytest.approx(value) if isinstance(value, float) else read["v"] == value


def test_a_container_that_fastavro_reads() -> None:
    encode = writer_of(SCHEMA)
    rows = [record(at) for at in range(300)]
    data = b"".join(container(json.dumps(SCHEMA), map(encode, rows), b"s" * 16, 2_000))
    blocks = list(fastavro.block_reader(io.BytesIO(data)))
    assert [row for block in blocks for row in block] == rows
    assert len(blocks) > 5
    empty = b"".join(container(json.dumps(SCHEMA), [], b"s" * 16, 1))
    assert list(fastavro.reader(io.BytesIO(empty + framed(1, encode(rows[7]), b"s" * 16)))) == [rows[7]]


@pytest.mark.parametrize("seed", range(3))
def test_damaged_records_are_refused_as_fastavro_refuses_them(seed: int) -> None:
    read = reader_of(KIND)
    for data in mutants(message(record(14))[5:], 700, seed):
        stream = io.BytesIO(data)
        try:
            expected = fastavro.schemaless_reader(stream, WIRE, None)
        except Exception:  # noqa: BLE001 - any refusal is one
            expected = None
        try:
            found, end = read(data, 0)
        except (Malformed, UnicodeDecodeError):
            found, end = None, 0
        if found is None and expected is not None:
            assert b"\xff" * 9 in data or b"\xfe\xff\xff" in data  # integers of more than 64 bits
        else:
            assert repr(found) == repr(expected)
            assert found is None or end == stream.tell()


def test_lenient_about_the_index_of_a_union_alone() -> None:
    data = bytearray(message({**record(14), "n": 5})[5:])
    at = data.index(b"\x02\x0a", len(record(14)["id"]))
    data[at] = 0x42
    with pytest.raises(Malformed):
        reader_of(KIND)(bytes(data), 0)
    found, end = reader_of(KIND, lenient=True)(bytes(data), 0)
    assert (found["n"], end) == (5, len(data))
