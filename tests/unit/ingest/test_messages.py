"""Messages in the registry's wire format: whatever a strict reader takes is taken, message by message, nothing else."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from tests import avro_messages
from tests.avro_messages import PEDIDO
from tests.faults.mutants import mutants

from datalab.ingest.avro_schema import parse_schema
from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode import avro_polars
from datalab.ingest.decode.container import write_long
from datalab.ingest.decode.framing import NO_SCHEMA, Schemas, distinct, schema_ids
from datalab.ingest.decode.wire import encoded_sizes, wire_schema, wire_type

pytestmark = pytest.mark.usefixtures("either_way")

SCHEMA = PEDIDO
PARSED = fastavro.parse_schema(SCHEMA)
CONTRACT = parse_contract(json.dumps(SCHEMA))
TEXT = json.dumps(SCHEMA).encode()
SCHEMAS = Schemas({7: TEXT}, {9: "the registry does not know it"})


def record(at: int) -> dict[str, Any]:
    return {
        "id": f"p{at}" * (at % 9),
        "n": None if at % 3 == 0 else at**3 - 500,
        "v": at / 7,
        "ok": at % 2 == 0,
        "tipo": "AB"[at % 2],
        "notas": [None if n % 2 else "x" * n * 40 for n in range(at % 4)],
        "m": {str(n): -n for n in range(at % 3)},
        "local": None if at % 5 == 0 else {"uf": "SP"},
    }


def message(row: dict[str, Any], schema_id: int = 7) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, row)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def decoded(values: list[bytes | None]) -> tuple[dict[int, Any], dict[int, Any]]:
    return avro_messages.decoded(values, SCHEMAS, CONTRACT)


def strict(value: bytes) -> Any:
    """What fastavro makes of one message; None where it refuses, or where something is left over."""
    stream = io.BytesIO(value[5:])
    try:
        row = fastavro.schemaless_reader(stream, PARSED, None)
    except Exception:  # noqa: BLE001 - any refusal is one
        return None
    return row if stream.tell() == len(value) - 5 else None


def plain(row: Any) -> Any:
    return {**row, "m": dict(row["m"])}


def test_all_at_once() -> None:
    rows = [record(at) for at in range(300)]
    accepted, rejects = decoded([message(row) for row in rows])
    assert [plain(accepted[at]) for at in range(300)] == rows
    assert not rejects


def test_each_kind_of_message_that_is_none() -> None:
    good = message(record(1))
    values = [good, None, b"", b"\0\0\0\0", b"\1" + good[1:], message(record(2), 9), good + b"x", good[:-1], good]
    accepted, rejects = decoded(values)
    assert set(accepted) == {0, 8}
    assert {row: str(reject.reason) for row, reject in rejects.items()} == {
        1: "tombstone", 2: "corrupt_record", 3: "corrupt_record", 4: "corrupt_record", 5: "unknown_schema",
        6: "corrupt_record", 7: "corrupt_record",
    }  # fmt: skip
    assert all(rejects[row].raw == (values[row] or b"") for row in rejects)
    assert rejects[5].detail == "schema 9: the registry does not know it"
    assert rejects[7].schema_id == "7"


def test_ids_of_a_slice() -> None:
    values = pa.array([message(record(1), 5), None, message(record(1), 1 << 30), b"ab"], pa.large_binary())
    assert schema_ids(values).tolist() == [5, NO_SCHEMA, 1 << 30, NO_SCHEMA]
    assert schema_ids(values.slice(2)).tolist() == [1 << 30, NO_SCHEMA]
    assert schema_ids(values.slice(0, 0)).tolist() == []


def test_messages_by_their_ids() -> None:
    one, other = message(record(1), 5), message(record(2), 1 << 30)

    def found(*values: bytes | None, start: int = 0) -> dict[int, list[int]]:
        ends = np.cumsum([0, *(len(value or b"") for value in values)])
        data = b"".join(value or b"" for value in values) + bytes(8)
        present = pa.array([value is not None for value in values]).buffers()[1]
        buffers = [present, pa.py_buffer(ends), pa.py_buffer(data)]
        array = pa.Array.from_buffers(pa.large_binary(), len(values), buffers).slice(start)
        return {each: rows.tolist() for each, rows in distinct(array).items()}

    assert found(one, one, one) == {5: [0, 1, 2]}
    assert found(other) == {1 << 30: [0]}
    assert found(one, other, one) == {5: [0, 2], 1 << 30: [1]}
    assert found(one, None, one) == {NO_SCHEMA: [1], 5: [0, 2]}
    assert found(None, one, one, start=1) == {5: [0, 1]}
    assert found(b"\1" + one[1:], b"\1" + one[1:]) == {NO_SCHEMA: [0, 1]}
    assert found(one[:5], one) == {NO_SCHEMA: [0], 5: [1]}
    assert found(one[:5]) == {NO_SCHEMA: [0]}
    assert found(one, start=1) == {}
    assert distinct(pa.nulls(2, pa.large_binary())).keys() == {NO_SCHEMA}


def test_a_message_cannot_reach_into_the_next() -> None:
    """Two messages that are wrong each, and right only if the border between them is not looked at."""
    one, two = message({**record(1), "id": "abcdef"}), message({**record(2), "id": ""})
    joined = one + two
    for cut in range(len(one) - 8, len(one) + 9):
        if cut != len(one):
            accepted, rejects = decoded([message(record(5)), joined[:cut], joined[cut:], message(record(6))])
            assert (set(accepted), set(rejects)) == ({0, 3}, {1, 2})


@pytest.mark.parametrize("seed", range(4))
def test_mutants_among_good_messages(seed: int) -> None:
    random = Random(seed)
    good = [message(record(at)) for at in range(150)]
    damaged = list(mutants(message(record(3)), 60, seed)) + list(mutants(message(record(14)), 60, seed + 100))
    values = [*good, *damaged]
    random.shuffle(values)
    accepted, rejects = decoded(values)
    for at, value in enumerate(values):
        expected = strict(value) if len(value) > 5 and value[:5] == b"\0\0\0\0\7" else None
        if expected is None and at in accepted:  # the index of a union is damaged, its value is not
            again = message(plain(accepted[at]))
            assert len(again) == len(value)
            assert sum(one != other for one, other in zip(again, value, strict=True)) <= 2
        elif expected is None:
            assert at in rejects
        elif at in accepted:
            assert plain(accepted[at]) == expected
        else:  # bytes that fastavro does not mind
            assert any(
                words in rejects[at].detail for words in ("boolean byte", "outside the range", "same key", "symbol")
            )


def test_few_calls_for_few_bad_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = avro_polars.pl.read_avro
    monkeypatch.setattr(avro_polars.pl, "read_avro", lambda data: calls.append(1) or real(data))
    values = [message(record(at)) for at in range(4_000)]
    values[1_234] = values[1_234][:-1]
    accepted, rejects = decoded(values)
    assert (len(accepted), set(rejects)) == (3_999, {1_234})
    assert len(calls) < 60


def test_sizes_are_those_of_the_bytes() -> None:
    kind = parse_schema(SCHEMA)
    wire = fastavro.parse_schema(wire_schema(kind))
    bodies = [message(record(at))[5:] for at in range(200)]
    rows = [fastavro.schemaless_reader(io.BytesIO(body), wire, None) for body in bodies]
    array = pa.array(rows, wire_type(kind))
    assert encoded_sizes(array, kind).tolist() == [len(body) for body in bodies]


@pytest.mark.parametrize(
    "values", [[], [0], [-64, 63], [-65, 64], [64, 8191], [-1, -64], [-64, -65], [2**62, 2**63 - 1], [-(2**63), 5]]
)
def test_sizes_of_longs(values: list[int]) -> None:
    kind = parse_schema({"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]})
    array = pa.array([{"n": value} for value in values], wire_type(kind))
    assert encoded_sizes(array, kind).tolist() == [len(write_long(value)) for value in values]


def test_decimals_have_no_more_than_38_digits() -> None:
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}
    text = json.dumps({"type": "record", "name": "r", "fields": [{"name": "d", "type": kind}]})
    most = 10**38 - 1
    wholes = [most, -most, 7, most + 1, -most - 1, 2**127 - 1, -(2**127)]
    values = [b"\0\0\0\0\7\x20" + each.to_bytes(16, "big", signed=True) for each in wholes]
    found, rejects = avro_messages.decoded(values, Schemas({7: text.encode()}, {}), parse_contract(text))
    assert [str(row["d"]).replace(".", "").lstrip("0") for row in found.values()] == ["9" * 38, "-" + "9" * 38, "7"]
    assert {at: str(each.reason) for at, each in rejects.items()} == dict.fromkeys(range(3, 7), "out_of_range")
