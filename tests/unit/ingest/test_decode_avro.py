"""Avro containers: damage costs only itself, numbers stay, schemas are resolved, lies of writers are found out."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode.avro import decode_avro
from datalab.ingest.decode.container import read_header, walk, write_long
from datalab.ingest.decode.parts import Part
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reject

pytestmark = pytest.mark.usefixtures("either_way")

SYNC = b"sync marker 16 b"


def schema(*fields: tuple[str, Any], **defaults: Any) -> dict[str, Any]:
    listed = [
        {"name": name, "type": kind, **({"default": defaults[name]} if name in defaults else {})}
        for name, kind in fields
    ]
    return {"type": "record", "name": "pedido", "fields": listed}


PLAIN = schema(("id", "string"), ("n", "long"))


def container(rows: list[dict[str, Any]], written: dict[str, Any] = PLAIN, **options: Any) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(written), rows, sync_marker=SYNC, **options)
    return out.getvalue()


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"p{at}", "n": at} for at in range(count)]


def decoded(
    data: bytes, contract: dict[str, Any] = PLAIN, limits: Limits | None = None
) -> tuple[list[Any], list[Reject]]:
    """Accepted records with their numbers, and rejects, in the order of numbers."""
    parts: list[Part] = list(decode_avro(memoryview(data), parse_contract(json.dumps(contract)), limits or Limits()))
    accepted = [
        (row, record)
        for part in parts
        if part.records is not None and part.rows is not None
        for row, record in zip(part.rows.tolist(), part.records.to_pylist(), strict=True)
    ]
    return sorted(accepted, key=lambda each: each[0]), [reject for part in parts for reject in part.rejects]


def blocks(data: bytes) -> list[Any]:
    return list(walk(memoryview(data), read_header(memoryview(data))))


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_whole_files(codec: str, chunk: int) -> None:
    data = container(rows(200), codec=codec, sync_interval=300)
    assert len(blocks(data)) == 5
    assert decoded(data, limits=Limits(chunk_bytes=chunk)) == (list(enumerate(rows(200))), [])


@pytest.mark.parametrize("codec", ["snappy", "zstandard"])
def test_codecs_that_fastavro_needs_more_libraries_for(codec: str) -> None:
    plain = container(rows(50))
    (block,) = blocks(plain)
    body = plain[block.start : block.stop]
    packed = pa.Codec({"zstandard": "zstd"}.get(codec, codec)).compress(body, asbytes=True)
    packed += zlib.crc32(body).to_bytes(4, "big") if codec == "snappy" else b""
    name = write_long(len(codec)) + codec.encode()
    head = plain[: plain.index(SYNC) + 16].replace(b"\x08null", name)
    data = head + write_long(50) + write_long(len(packed)) + packed + SYNC
    assert decoded(data) == (list(enumerate(rows(50))), [])
    accepted, (reject,) = decoded(data[:-20] + b"\x00\x00\x00\x00" + SYNC)
    assert (accepted, reject.reason) == ([], "corrupt_block")


def test_every_type_survives() -> None:
    kinds = schema(
        ("b", ["null", "boolean"]),
        ("i", "int"),
        ("f", "float"),
        ("y", "bytes"),
        ("x", {"type": "fixed", "name": "x", "size": 2}),
        ("e", ["null", {"type": "enum", "name": "e", "symbols": ["A", "B"]}]),
        (
            "a",
            {
                "type": "array",
                "items": ["null", {"type": "record", "name": "r", "fields": [{"name": "k", "type": "int"}]}],
            },
        ),
        ("m", ["null", {"type": "map", "values": "boolean"}]),
    )
    full = {
        "b": True,
        "i": -5,
        "f": 0.5,
        "y": b"\x00\xff",
        "x": b"ab",
        "e": "B",
        "a": [{"k": 1}, None],
        "m": {"s": True},
    }
    empty = {"b": None, "i": 2**31 - 1, "f": -1.0, "y": b"", "x": b"cd", "e": None, "a": [], "m": None}
    accepted, rejects = decoded(container([full, empty], kinds), kinds)
    assert not rejects
    assert [row for _, row in accepted] == [{**full, "m": [("s", True)]}, empty]


def test_a_damaged_record_costs_what_follows_in_its_block_and_no_more() -> None:
    data = bytearray(container(rows(90), sync_interval=200))
    block = blocks(bytes(data))[1]
    first = blocks(bytes(data))[0].count
    at = data.index(f"p{first + 4}".encode(), block.start) - 1
    data[at : at + 1] = b"\x01"  # a negative length
    accepted, (reject,) = decoded(bytes(data))
    assert (reject.row, reject.records, reject.reason) == (first + 4, block.count - 4, "corrupt_record")
    assert accepted == [(at, row) for at, row in enumerate(rows(90)) if not first + 4 <= at < first + block.count]
    assert reject.raw == bytes(data[at : block.stop])


def test_a_block_without_its_sync_marker_is_read_and_the_next_ones_too() -> None:
    data = bytearray(container(rows(90), sync_interval=200))
    data[blocks(bytes(data))[1].stop] ^= 0xFF
    accepted, rejects = decoded(bytes(data))
    assert accepted == list(enumerate(rows(90)))
    assert not rejects


def test_a_header_whose_own_marker_is_damaged() -> None:
    data = container(rows(90), sync_interval=200)
    at = data.index(SYNC)
    assert decoded(data[:at] + b"another mark 16b" + data[at + 16 :]) == (list(enumerate(rows(90))), [])


def test_a_truncated_file_keeps_what_it_has() -> None:
    data = container(rows(90), sync_interval=200)
    last = blocks(data)[-1]
    accepted, (reject,) = decoded(data[: last.start + 7])
    before = 90 - last.count
    assert len(accepted) >= before
    assert (reject.row, reject.detail) == (len(accepted), "the file ends within the block")
    assert accepted == list(enumerate(rows(90)))[: len(accepted)]


@pytest.mark.parametrize("declared", [9, 11, 1 << 40])
def test_a_count_that_lies_loses_nothing_in_silence(declared: int) -> None:
    data = container(rows(10))
    (block,) = blocks(data)
    head = data.index(SYNC) + 16
    lying = data[:head] + write_long(declared) + write_long(block.stop - block.start) + data[block.start :]
    accepted, (reject,) = decoded(lying)
    assert accepted == list(enumerate(rows(10)))[: min(declared, 10)]
    assert reject.records <= 20


LISTED = schema(("n", "long"), ("notas", {"type": "array", "items": "string"}))


@pytest.mark.parametrize("written", [PLAIN, schema(("n", "long"), ("id", "string")), LISTED])
@pytest.mark.parametrize("left", [b"\x80\x80", b"\xff", b"\x00", b"\x02x"])
def test_bytes_that_a_block_has_left_over_do_not_go_into_the_next_one(written: dict[str, Any], left: bytes) -> None:
    """Put together, the last two bytes of a number and the first record of the next block would be another number."""
    all_rows: list[dict[str, Any]] = [{**row, "notas": ["x"]} if written is LISTED else row for row in rows(900)]
    all_rows = [{name["name"]: row[name["name"]] for name in written["fields"]} for row in all_rows]
    data = container(all_rows, written, sync_interval=2_000)
    second = blocks(data)[1]
    head = data.rindex(SYNC, 0, second.start) + 16
    longer = write_long(second.count) + write_long(second.stop - second.start + len(left))
    spoilt = data[:head] + longer + data[second.start : second.stop] + left + data[second.stop :]
    accepted, rejects = decoded(spoilt, written)
    assert accepted == list(enumerate(all_rows))
    assert [(reject.reason, reject.raw) for reject in rejects] == [("corrupt_block", left)]


@pytest.mark.parametrize("branch", [0x04, 0x3F, 0xFF])
def test_a_union_has_no_other_branches(branch: int) -> None:
    kinds = schema(("id", "string"), ("n", ["null", "long"]))
    data = bytearray(container(rows(200), kinds, sync_interval=400))
    spoilt = blocks(bytes(data))[1]
    first = blocks(bytes(data))[0].count
    at = data.index(f"p{first + 3}".encode(), spoilt.start) + len(f"p{first + 3}")
    assert data[at] == 2
    data[at] = branch
    accepted, (reject,) = decoded(bytes(data), kinds)
    assert (reject.row, reject.reason) == (first + 3, "corrupt_record")
    assert [row for row, _ in accepted] == [row for row in range(200) if not first + 3 <= row < first + spoilt.count]


def test_a_boolean_must_be_zero_or_one() -> None:
    kinds = schema(("b", "boolean"), ("n", ["null", "boolean"]))
    data = container([{"b": True, "n": True}, {"b": False, "n": None}], kinds)
    (block,) = blocks(data)
    accepted, (reject,) = decoded(data[: block.start] + b"\x02" + data[block.start + 1 :], kinds)
    assert accepted == [(1, {"b": False, "n": None})]
    assert (reject.row, reject.reason, reject.raw) == (0, "corrupt_record", b"\x02\x02\x01")


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("int", 1 << 40, "out_of_range"),
        ({"type": "int", "logicalType": "date"}, 1 << 35, "out_of_range"),
        ({"type": "long", "logicalType": "timestamp-millis"}, 1 << 60, "out_of_range"),
        ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, 7, "corrupt_record"),
    ],
)
def test_numbers_outside_their_type_are_refused_not_wrapped(kind: Any, value: int, reason: str) -> None:
    data = bytearray(container([{"v": 1}, {"v": 2}], schema(("v", "long"))))
    body = write_long(value) + write_long(1)
    made = container([], schema(("v", kind))) + write_long(2) + write_long(len(body)) + body + SYNC
    accepted, (reject,) = decoded(made, schema(("v", kind)))
    assert data
    assert (len(accepted), reject.row, reject.reason) == (1, 0, reason)


def test_schemas_are_resolved() -> None:
    written = schema(("nome_antigo", "string"), ("n", "int"), ("o", ["null", "float"]))
    wanted = schema(("id", "string"), ("n", "double"), ("o", "double"), ("novo", "string"), novo="x")
    wanted["fields"][0]["aliases"] = ["nome_antigo"]
    data = container([{"nome_antigo": "a", "n": 7, "o": 1.5}, {"nome_antigo": "b", "n": 8, "o": None}], written)
    accepted, (reject,) = decoded(data, wanted)
    assert accepted == [(0, {"id": "a", "n": 7.0, "o": 1.5, "novo": "x"})]
    assert (reject.row, reject.reason, reject.detail) == (1, "null_in_required", "o: null in a required field")
    assert reject.schema_id != parse_contract(json.dumps(wanted)).schema_id


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (schema(("id", "string"), ("n", "string")), "n: string in the file, long in the contract"),
        (schema(("id", "string")), "n: missing in the file, and without a default in the contract"),
        (schema(("id", "string"), ("n", "long"), ("z", "int")), "z: not in the contract"),
        (schema(("id", "string"), ("n", {"type": "array", "items": "long"})), "n: array<long> in the file"),
    ],
)
def test_a_schema_that_does_not_fit_sets_the_file_aside_as_a_whole(written: dict[str, Any], words: str) -> None:
    accepted, (reject,) = decoded(container([], written))
    assert not accepted
    assert (reject.row, reject.reason) == (-1, "schema_mismatch")
    assert words in reject.detail


def test_unknown_symbols_of_the_writer_are_refused_one_by_one() -> None:
    def symbols(*names: str) -> dict[str, Any]:
        return schema(("e", {"type": "enum", "name": "e", "symbols": list(names)}))

    data = container([{"e": "B"}, {"e": "C"}, {"e": "A"}], symbols("C", "B", "A"))
    accepted, (reject,) = decoded(data, symbols("A", "B"))
    assert accepted == [(0, {"e": "B"}), (2, {"e": "A"})]
    assert (reject.row, reject.reason, reject.raw) == (1, "unknown_symbol", b"\x00")


@pytest.mark.parametrize("nullable", [False, True])
def test_the_default_of_an_enum_stands_for_symbols_that_only_the_writer_knows(nullable: bool) -> None:
    def symbols(*names: str, **more: str) -> dict[str, Any]:
        kind = {"type": "enum", "name": "e", "symbols": list(names), **more}
        return schema(("n", "long"), ("e", ["null", kind] if nullable else kind))

    written, contract = symbols("C", "B", "A"), symbols("A", "B", "OTHER", default="OTHER")
    rows = [{"n": 1, "e": "B"}, {"n": 2, "e": "C"}, {"n": 3, "e": "A"}, *([{"n": 4, "e": None}] if nullable else [])]
    data = container(rows, written)
    accepted, rejects = decoded(data, contract)
    assert [record for _, record in accepted] == list(fastavro.reader(io.BytesIO(data), contract))
    assert not rejects


@pytest.mark.parametrize(
    ("unit", "value"),
    [("local-timestamp-millis", 1_500), ("local-timestamp-micros", 1_500_000), ("timestamp-nanos", 1_500_000_000)],
)
def test_the_writers_unit_of_time_is_never_taken_for_another(unit: str, value: int) -> None:
    data = container([{"t": value}], schema(("t", {"type": "long", "logicalType": unit})))
    plain = [(0, {"t": value})]
    assert decoded(data, schema(("t", "long"))) == (plain, [])
    for contract in ("timestamp-millis", "timestamp-micros"):
        accepted, rejects = decoded(data, schema(("t", {"type": "long", "logicalType": contract})))
        if unit == "timestamp-nanos":
            assert [each.detail for each in rejects] == [f"t: timestamp-nanos in the file, {contract} in the contract"]
        else:
            assert [record["t"].timestamp() for _, record in accepted] == [1.5]


def test_codecs_that_are_not_known_are_named() -> None:
    data = container(rows(3)).replace(b"\x14avro.codec\x08null", b"\x14avro.codec\x08lzma")
    accepted, (reject,) = decoded(data)
    assert (accepted, reject.reason) == ([], "unsupported_codec")
    assert "'lzma'" in reject.detail
