"""Damaged messages and hostile schemas on the way from a topic: no crash, balance kept, memory bounded."""

from __future__ import annotations

import io
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.avro_messages import PEDIDO
from tests.faults.mutants import mutants

from datalab.ingest.contracts import IN_TOPIC, bronze_schema, parse_contract
from datalab.ingest.decode.messages import Schemas
from datalab.ingest.evolution import grown
from datalab.ingest.limits import Limits
from datalab.ingest.message_isolate import run_messages
from datalab.ingest.message_jobs import MESSAGES, MessageJob, MessagesDone
from datalab.ingest.workers import Workers
from datalab.lake.table import WriteTarget
from datalab.names import TableName

SCHEMA = PEDIDO
CONTRACT = parse_contract(json.dumps(SCHEMA))
PARSED = fastavro.parse_schema(SCHEMA)
SCHEMAS = Schemas({7: json.dumps(SCHEMA).encode()}, {})
HEAD = b"\0\0\0\0\7"
MEMORY = 512 << 20
LAST_RESORTS = {"worker_crashed", "too_large", "too_slow"}
SMALLEST = b"\xff" * 9 + b"\1"  # as a count: fastavro takes it for none at all
_TOO_LONG = re.compile(rb"[\x80-\xff]{9}[^\x00\x01]", re.DOTALL)  # a number of more than 64 bits
_EXCUSED = ("boolean byte", "outside the range", "same key", "symbol")


def record(at: int) -> dict[str, Any]:
    notes = [None if n % 2 else "x" * n * 7 for n in range(at % 4)]
    plain = {"id": f"p{at}", "n": at if at % 3 else None, "v": at / 7, "ok": at % 2 == 0, "tipo": "AB"[at % 2]}
    return {
        **plain,
        "notas": notes,
        "m": {str(n): -n for n in range(at % 3)},
        "local": {"uf": "SP"} if at % 5 else None,
    }


def body(row: dict[str, Any], schema: Any = PARSED) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, row)
    return out.getvalue()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2, MEMORY) as pool:
        yield pool


def job(values: list[bytes | None], folder: Path, first: int = 0, schemas: Schemas = SCHEMAS) -> MessageJob:
    offsets = list(range(first, first + len(values)))
    known = {"value": values, "partition": [0] * len(values), "offset": offsets}
    arrays = [pa.array(known[each.name], each.type) if each.name in known else pa.nulls(len(values), each.type)
              for each in MESSAGES]  # fmt: skip
    target = WriteTarget(TableName("bronze", "pedidos"), str(folder), bronze_schema(CONTRACT, IN_TOPIC))
    batch = pa.RecordBatch.from_arrays(arrays, schema=MESSAGES)
    return MessageJob((batch,), schemas, CONTRACT.text, "t", Limits(worker_seconds=20), datetime.now(UTC), target)


def written(done: MessagesDone) -> dict[int, dict[str, Any]]:
    tables = [pq.read_table(file.path, partitioning=None) for file in done.data]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    found = {row["source_offset"]: row for row in rows}
    assert len(found) == len(rows) == done.accepted == sum(file.rows for file in done.data)
    return found


def peak(workers: Workers) -> int:
    """The most memory that a worker that still lives ever had."""
    assert workers._nursery is not None
    pid = workers._nursery.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    statuses = (Path(f"/proc/{each}/status").read_text() for each in children)
    return max(int(line.split()[1]) << 10 for text in statuses for line in text.splitlines() if "VmHWM" in line)


def mutilated(count: int, seed: int) -> list[bytes]:
    """Damage to bodies; every tenth to the whole message, its head too."""
    made: list[bytes] = []
    for base in range(20):
        good, each = body(record(base * 13 + seed)), count // 20
        made += [HEAD + damaged for damaged in mutants(good, each - each // 10, seed * 100 + base)]
        made += list(mutants(HEAD + good, each // 10, seed * 100 + base + 50))
    return made


def strict(value: bytes) -> Any:
    stream = io.BytesIO(value[5:])
    try:
        row = fastavro.schemaless_reader(stream, PARSED, None)
    except Exception:  # noqa: BLE001 - any refusal is one
        return None
    return row if stream.tell() == len(value) - 5 else None


def through(workers: Workers, folder: Path, count: int, seed: int) -> Counter[str]:
    """Mutants among as many good messages; the reasons of those that were refused."""
    good = {at: HEAD + body(record(at)) for at in range(count)}
    values: list[bytes | None] = [*good.values(), *mutilated(count, seed)]
    places = list(range(len(values)))
    Random(seed).shuffle(places)
    shuffled = [values[place] for place in places]
    step = 10_000
    jobs = [job(shuffled[at : at + step], folder, at) for at in range(0, len(shuffled), step)]
    done = run_messages(workers, jobs, 3)
    accepted, refused = written(done), {each.offset: each.reject for each in done.refused}
    assert len(accepted) + len(refused) == len(values) == len(accepted.keys() | refused.keys())
    for offset, place in enumerate(places):
        value = shuffled[offset] or b""
        if place in good:
            assert accepted[offset]["id"] == f"p{place}"
        elif offset in refused:
            framed = strict(value) if value[:5] == HEAD else None
            known = any(words in refused[offset].detail for words in _EXCUSED) or SMALLEST in value
            assert framed is None or known or _TOO_LONG.search(value)
            assert refused[offset].raw in (value, value[: len(refused[offset].raw)])
    return Counter(str(each.reason) for each in refused.values())


def test_damaged_messages_cost_only_themselves(workers: Workers, tmp_path: Path) -> None:
    reasons = through(workers, tmp_path, 2_000, 1)
    assert reasons["corrupt_record"] > 1_000
    assert not set(reasons) & LAST_RESORTS
    assert peak(workers) < MEMORY


@pytest.mark.full
@pytest.mark.timeout(0)
def test_very_many_damaged_messages_cost_only_themselves(workers: Workers, tmp_path: Path) -> None:
    for seed in range(2, 52):
        folder = tmp_path / str(seed)
        assert not set(through(workers, folder, 20_000, seed)) & LAST_RESORTS
    assert peak(workers) < MEMORY


def field(kind: Any, name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def wide(*fields: dict[str, Any]) -> dict[str, Any]:
    return {**SCHEMA, "fields": [*SCHEMA["fields"], *fields]}


def nested(depth: int) -> Any:
    inner: Any = "int"
    for _ in range(depth):
        inner = {"type": "array", "items": inner}
    return inner


def doubling(levels: int) -> Any:
    """Each type holds the one before it twice: written out it would have 2 ** levels fields."""
    fields = [field({"type": "record", "name": "t0", "fields": [field("int")]}, "f0")]
    for at in range(1, levels):
        inner = {"type": "record", "name": f"t{at}", "fields": [field(f"t{at - 1}", "a"), field(f"t{at - 1}", "b")]}
        fields.append(field(inner, f"f{at}"))
    return {"type": "record", "name": "r", "fields": fields}


NODE = {"type": "record", "name": "node", "fields": [field(["null", "node"], "next")]}
HOSTILE: dict[str, bytes] = {
    name: text if isinstance(text, bytes) else json.dumps(text).encode()
    for name, text in {
        "recursive": wide(field(["null", NODE], default=None)),
        "itself": {"type": "record", "name": "pedido", "fields": [field("pedido")]},
        "deep json": b"[" * 200_000,
        "deep object": b'{"type":' * 50_000,
        "deep arrays": wide(field(["null", nested(400)], default=None)),
        "doubling": doubling(40),
        "many fields": wide(*(field(["null", "int"], f"x{at}", default=None) for at in range(20_000))),
        "huge text": b'"' + b"x" * (2 << 20) + b'"',
        "huge fixed": wide(field({"type": "fixed", "name": "f", "size": 1 << 60}, default="")),
        "negative fixed": wide(field({"type": "fixed", "name": "f", "size": -1}, default="")),
        "nothing many times": wide(field(["null", {"type": "array", "items": "null"}], default=None)),
        "no fields many times": wide(
            field(["null", {"type": "array", "items": {"type": "record", "name": "e", "fields": []}}], default=None)
        ),
        "fields are numbers": {"type": "record", "name": "pedido", "fields": [1, 2]},
        "fields are missing": {"type": "record", "name": "pedido"},
        "field without type": {"type": "record", "name": "pedido", "fields": [{"name": "x", "default": 1}]},
        "field without name": {"type": "record", "name": "pedido", "fields": [{"type": "int", "default": 1}]},
        "type is a number": {"type": 5},
        "a list": [1, 2, 3],
        "a number": b"17",
        "not json": b"{",
        "not text": b"\xff\xfe",
        "half a pair": b'{"type": "record", "name": "\\ud800", "fields": []}',
        "same key twice": b'{"type": "record", "type": "record", "name": "a", "fields": []}',
        "nan": b'{"type": "record", "name": "a", "fields": [{"name": "x", "type": "double", "default": NaN}]}',
        "union of unions": wide(field([["null", "int"], "string"], default=None)),
        "empty union": wide(field([], default=None)),
        "taken name": wide(field(["null", "int"], "source_offset", default=None)),
        "same name": wide(field(["null", "int"], "ID", default=None)),
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_costs_only_its_own_messages(workers: Workers, tmp_path: Path, name: str) -> None:
    schemas = Schemas({**SCHEMAS.texts, 9: HOSTILE[name]}, {})
    bodies = [HEAD[:4] + b"\x09" + body(record(at)) for at in range(50)]
    values: list[bytes | None] = [*(HEAD + body(record(at)) for at in range(50)), *bodies]
    began = time.monotonic()
    done = run_messages(workers, [job(values, tmp_path, 0, schemas)], 1)
    assert sorted(written(done)) == list(range(50))
    assert {each.offset for each in done.refused} == set(range(50, 100))
    assert {str(each.reject.reason) for each in done.refused} == {"schema_mismatch"}
    assert max(len(each.reject.detail) for each in done.refused) < 10_000
    assert time.monotonic() - began < 20
    assert peak(workers) < MEMORY


@pytest.mark.parametrize("name", HOSTILE)
def test_a_contract_does_not_grow_by_a_hostile_schema(name: str) -> None:
    began = time.monotonic()
    made = grown(CONTRACT, HOSTILE[name].decode("utf-8", "replace"))
    assert made is CONTRACT
    assert time.monotonic() - began < 5


HUGE = [b"\xfe\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]


@pytest.mark.parametrize("count", HUGE, ids=["2 billion", "4e18", "negative"])
@pytest.mark.parametrize("place", ["string", "array", "map", "block"])
def test_a_huge_count_in_a_message_costs_only_itself(
    workers: Workers, tmp_path: Path, place: str, count: bytes
) -> None:
    plain = {**record(3), "notas": [], "m": {}, "local": None}
    good = body(plain)
    tail = b"\0\0\0"  # no notes, no map, no place
    assert good.endswith(tail)
    front = good[: -len(tail)]
    bomb = {
        "string": count + good[1:],
        "array": front + count + b"\0" * 3,
        "map": front + b"\0" + count + b"\0" * 2,
        "block": front + count + count + b"\0" * 3,
    }[place]
    values: list[bytes | None] = [*(HEAD + body(record(at)) for at in range(500)), HEAD + bomb, HEAD + bomb]
    done = run_messages(workers, [job(values, tmp_path)], 1)
    assert sorted(written(done)) == list(range(500))
    assert [(each.offset, str(each.reject.reason)) for each in done.refused] == [
        (500, "corrupt_record"), (501, "corrupt_record"),
    ]  # fmt: skip
    assert peak(workers) < MEMORY
