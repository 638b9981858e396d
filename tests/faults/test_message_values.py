"""Damaged messages that are accepted have the values that a strict reader gives them, whatever lies behind them."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import fastavro
import pytest
from tests.avro_messages import PEDIDO, decoded
from tests.faults.mutants import mutants
from tests.faults.test_mutated_messages import HEAD, SMALLEST, record

from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode.messages import Schemas

_INNER = {"type": "record", "name": "z", "fields": [{"name": "q", "type": "long"}]}
_LOCAL = {
    "type": "record",
    "name": "l",
    "fields": [{"name": "uf", "type": ["null", "string"]}, {"name": "z", "type": ["null", _INNER]}],
}
FLAT: dict[str, Any] = {
    "type": "record",
    "name": "plano",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "n", "type": ["null", "long"]},
        {"name": "k", "type": ["int", "null"]},
        {"name": "v", "type": "double"},
        {"name": "w", "type": ["null", "float"]},
        {"name": "ok", "type": "boolean"},
        {"name": "tipo", "type": {"type": "enum", "name": "tipo", "symbols": ["A", "B", "C"]}},
        {"name": "b", "type": ["null", "bytes"]},
        {"name": "fx", "type": {"type": "fixed", "name": "fx", "size": 5}},
        {"name": "local", "type": ["null", _LOCAL]},
        {"name": "ts", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "dia", "type": {"type": "int", "logicalType": "date"}},
        {"name": "preco", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}]},
        {"name": "fim", "type": "string"},
    ],
}
# What the contract refuses and a strict reader of Avro does not: see also test_mutated_messages.
_EXCUSED = (
    "boolean byte",
    "outside the range",
    "same key",
    "symbol",
    "does not fit",
    "index of a",
    "cannot be decoded",
)
_TOO_LONG = re.compile(rb"[\x80-\xff]{9}[\x02-\xff]", re.DOTALL)  # a number of more than 64 bits
CASES = {"flat": FLAT, "nested": PEDIDO}


def _flat(at: int) -> dict[str, Any]:
    inner = {"uf": None if at % 2 else "SP", "z": {"q": at} if at % 3 else None}
    return {
        "id": f"p{at}" * (at % 5),
        "n": at * at * 7919 if at % 3 else None,
        "k": None if at % 2 else -at,
        "v": at / 7,
        "w": None if at % 4 else at / 3,
        "ok": at % 2 == 0,
        "tipo": "ABC"[at % 3],
        "b": None if at % 3 == 0 else bytes(range(at % 40)),
        "fx": b"12345",
        "local": None if at % 5 == 0 else inner,
        "ts": None if at % 3 == 1 else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at * 977),
        "dia": date(2026, 1, 1) + timedelta(days=at % 700),
        "preco": None if at % 4 == 1 else Decimal(at * 7 - 500).scaleb(-2),
        "fim": "x" * (at % 9),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.astimezone(UTC) if isinstance(value, datetime) else repr(value)


def _strict(value: bytes, schema: Any) -> Any:
    stream = io.BytesIO(value[5:])
    try:
        row = fastavro.schemaless_reader(stream, schema, None)
    except Exception:  # noqa: BLE001 - any refusal is one
        return None
    return row if value[:5] == HEAD and stream.tell() == len(value) - 5 else None


def _batch(schema: Any, make: Any, random: Random) -> list[bytes]:
    """Damaged messages in bodies and heads, and good ones among them."""
    values: list[bytes] = []
    for _ in range(20):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, make(random.randrange(100_000)))
        good, seed = out.getvalue(), random.randrange(1 << 30)
        values += [HEAD + each for each in mutants(good, 45, seed)]
        values += [*mutants(HEAD + good, 5, seed), *[HEAD + good] * random.choice((0, 5, 60))]
    random.shuffle(values)
    return values


def _compare(name: str, seed: int) -> None:
    schema, random = fastavro.parse_schema(json.loads(json.dumps(CASES[name]))), Random(f"{seed}/{name}")
    contract, schemas = parse_contract(json.dumps(CASES[name])), Schemas({7: json.dumps(CASES[name]).encode()}, {})
    values = _batch(schema, _flat if name == "flat" else record, random)
    accepted, refused = decoded(values, schemas, contract, random.randbytes(1))
    for at, value in enumerate(values):
        wanted = _strict(value, schema)
        if at in refused:
            excused = any(words in refused[at].detail for words in _EXCUSED)
            assert wanted is None or excused or SMALLEST in value or _TOO_LONG.search(value), (value, refused[at])
        elif wanted is not None:
            found = {**accepted[at], **({"m": dict(accepted[at]["m"])} if name == "nested" else {})}
            assert _plain(found) == _plain(wanted), value
        else:  # polars takes the other branch of a union whose index is damaged
            assert name == "nested", value


@pytest.mark.parametrize("name", CASES)
def test_damaged_messages_have_the_values_of_a_strict_reader(name: str) -> None:
    _compare(name, 1)


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", CASES)
def test_very_many_damaged_messages_have_the_values_of_a_strict_reader(name: str) -> None:
    for seed in range(2, 102):
        _compare(name, seed)
