"""Records decoded field by field: what a strict reader takes is taken with the same values, and nothing else."""

from __future__ import annotations

import io
import json
import struct
from random import Random
from typing import Any

import fastavro
import numpy as np
import pytest
from tests import avro_messages
from tests.faults.mutants import mutants

from datalab.ingest.avro_schema import parse_schema
from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode.avro_columns import decode_columns, has_columns
from datalab.ingest.decode.container import write_long
from datalab.ingest.decode.framing import Schemas

pytestmark = pytest.mark.usefixtures("either_way")

INNER = {"type": "record", "name": "local", "fields": [{"name": "uf", "type": ["string", "null"]}]}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "pedido",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "n", "type": ["null", "long"]},
        {"name": "i", "type": "int"},
        {"name": "ok", "type": "boolean"},
        {"name": "v", "type": "double"},
        {"name": "f", "type": ["float", "null"]},
        {"name": "tipo", "type": {"type": "enum", "name": "tipo", "symbols": ["A", "B"]}},
        {"name": "local", "type": ["null", INNER]},
        {"name": "fora", "type": {**INNER, "name": "fora"}},
        {"name": "b", "type": ["null", "bytes"]},
        {"name": "x", "type": {"type": "fixed", "name": "tres", "size": 3}},
        {"name": "fim", "type": "long"},
    ],
}
PARSED = fastavro.parse_schema(SCHEMA)
CONTRACT = parse_contract(json.dumps(SCHEMA))
SCHEMAS = Schemas({7: json.dumps(SCHEMA).encode()}, {})
HEAD = b"\0\0\0\0\7"
BEHIND = b"\x00\x02\xff"


def record(random: Random) -> dict[str, Any]:
    def long() -> int:
        bits = random.randrange(64)
        return random.choice((-1, 1)) * random.getrandbits(bits) if bits else -(2**63)

    def text() -> str:
        return "".join(random.choices("aé🌱 ", k=random.choice((0, 1, 5, 40, 100))))

    return {
        "id": text(),
        "n": random.choice((None, long())),
        "i": random.randrange(-(2**31), 2**31),
        "ok": random.random() < 0.5,
        "v": random.random() * 10 ** random.randrange(-300, 300),
        "f": random.choice((None, struct.unpack("<f", struct.pack("<f", random.random()))[0])),
        "tipo": random.choice("AB"),
        "local": random.choice((None, {"uf": None}, {"uf": text()})),
        "fora": {"uf": random.choice((None, text()))},
        "b": random.choice((None, b"", random.randbytes(20))),
        "x": random.randbytes(3),
        "fim": long(),
    }


def message(row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, row)
    return HEAD + out.getvalue()


def decoded(values: list[bytes]) -> tuple[dict[int, Any], dict[int, Any]]:
    return avro_messages.decoded(values, SCHEMAS, CONTRACT, BEHIND)


def strict(value: bytes) -> Any:
    stream = io.BytesIO(value[len(HEAD) :])
    try:
        row = fastavro.schemaless_reader(stream, PARSED, None)
    except Exception:  # noqa: BLE001 - any refusal is one
        return None
    return row if stream.tell() == len(value) - len(HEAD) else None


@pytest.mark.parametrize("seed", range(3))
def test_any_values(seed: int) -> None:
    random = Random(seed)
    rows = [record(random) for _ in range(500)]
    accepted, rejects = decoded([message(row) for row in rows])
    assert not rejects
    assert [accepted[at] for at in range(len(rows))] == rows


@pytest.mark.parametrize("seed", range(6))
def test_mutants_among_good_messages(seed: int) -> None:
    random = Random(seed)
    good = [message(record(random)) for _ in range(60)]
    damaged = [mutant for each in range(8) for mutant in mutants(message(record(random)), 40, 100 * seed + each)]
    values = [*good, *(value for value in damaged if value[:5] == HEAD and len(value) > len(HEAD))]
    random.shuffle(values)
    accepted, rejects = decoded(values)
    for at, value in enumerate(values):
        expected = strict(value)
        if expected is None:
            assert at in rejects
            assert rejects[at].raw == value
        elif at in accepted:
            # compared as bytes, since NaN is not equal to itself
            assert message(accepted[at]) == message(expected)
        else:  # bytes that fastavro does not mind, integers of more than 64 bits among them
            known = any(words in rejects[at].detail for words in ("boolean byte", "outside the range", "symbol"))
            assert known or message(expected) != value


def test_integers_of_every_length() -> None:
    kind = parse_schema({"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]})
    values = [sign * (1 << bits) + by for bits in range(63) for sign in (1, -1) for by in (-1, 0, 1)]
    values += [2**63 - 1, -(2**63)]
    bodies = [write_long(value) for value in values] + [b"\xff" * 9 + b"\x02", b"\x80" * 11, b"\xff", b""]
    ends = np.cumsum([len(body) for body in bodies])
    starts = ends - np.array([len(body) for body in bodies])
    made, good = decode_columns(kind, memoryview(b"".join(bodies)), starts, ends)
    assert good.tolist() == [True] * len(values) + [False] * 4
    assert made.field("n").to_pylist()[: len(values)] == values


OPTIONAL = ["null", "long"]


@pytest.mark.parametrize("kinds", [["double"], ["long"], ["double", "string"], [OPTIONAL], [OPTIONAL, "int", "float"]])
def test_a_record_that_ends_before_many_numbers_costs_only_itself(kinds: list[Any]) -> None:
    """Numbers are read on behind the end of such a record, into the next ones or into what lies behind the last."""
    fields = [{"name": f"n{at}", "type": kinds[at % len(kinds)]} for at in range(300)]
    schema = {"type": "record", "name": "r", "fields": fields}
    parsed, contract = fastavro.parse_schema(schema), parse_contract(json.dumps(schema))

    def body(**values: Any) -> bytes:
        out = io.BytesIO()
        row = {each["name"]: values[str(each["type"][-1] if each["type"] is OPTIONAL else each["type"])]
               for each in fields}  # fmt: skip
        fastavro.schemaless_writer(out, parsed, row)
        return HEAD + out.getvalue()

    whole = body(double=2.5, long=2**61, string="ab", int=7, float=0.5)
    empty = body(double=0.0, long=None if OPTIONAL in kinds else 0, string="", int=0, float=0.0)
    cuts = [whole[:size] for size in range(len(HEAD) + 1, len(whole), 67)]
    values = [each for cut in cuts for each in (whole, cut, empty)]
    for ordered in (values, values[::-1], [whole, empty, *cuts[::-1]]):
        schemas = Schemas({7: json.dumps(schema).encode()}, {})
        accepted, rejects = avro_messages.decoded(ordered, schemas, contract, BEHIND)
        assert sorted(accepted) == [at for at, value in enumerate(ordered) if value in (whole, empty)]
        assert all(rejects[at].raw == ordered[at] for at in rejects)


def test_what_has_columns() -> None:
    assert has_columns(parse_schema(SCHEMA))
    nested = {"type": "array", "items": "int"}
    assert not has_columns(parse_schema({"type": "record", "name": "r", "fields": [{"name": "a", "type": nested}]}))
