"""Damaged files: no crash, balance kept, and whatever a strict reader takes is taken with the same values."""

from __future__ import annotations

import io
import json
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.faults.mutants import mutant, mutants
from tests.faults.strict_readers import SYNC, read_avro, read_csv, read_jsonl, read_parquet, schema_intact

from datalab.ingest.contracts import arrow_field, parse_contract
from datalab.ingest.decode.avro_form import form_of
from datalab.ingest.decode.container import write_long
from datalab.ingest.decode.formats import decode
from datalab.ingest.isolate import run_jobs
from datalab.ingest.jobs import FileJob, Job
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reason, Reject
from datalab.ingest.workers import Call, Died, Value, Workers

_READERS = {"avro": read_avro, "flat": read_avro, "csv": read_csv, "jsonl": read_jsonl, "parquet": read_parquet}
_EXCUSED = ("boolean byte", "outside the range", "index of a symbol", "does not fit")
_TOO_LONG = re.compile(rb"[\x80-\xff]{9}[^\x00\x01]", re.DOTALL)  # a number of more than 64 bits, which fastavro takes
_GROUP = 20  # records of a row group of the good Parquet files
_BELIEVES_SIZES = frozenset({"parquet"})  # Arrow takes the memory that a damaged page says it needs
_LOCAL = {
    "name": "local",
    "type": "record",
    "fields": [{"name": "uf", "type": "string"}, {"name": "lat", "type": ["null", "double"]}],
}
_FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"},
    {"name": "quando", "type": "long"},
    {"name": "nome", "type": ["null", "string"], "default": None},
    {"name": "valor", "type": "double"},
    {"name": "ativo", "type": "boolean"},
    {"name": "anos", "type": ["null", "int"]},
    {"name": "tipo", "type": {"type": "enum", "name": "tipo", "symbols": ["FISICA", "JURIDICA"]}},
]
_NESTED: list[dict[str, Any]] = [
    {"name": "local", "type": ["null", _LOCAL], "default": None},
    {"name": "notas", "type": {"type": "array", "items": "int"}},
]
_LOGICAL: list[dict[str, Any]] = [
    {"name": "dia", "type": {"type": "int", "logicalType": "date"}},
    {"name": "hora", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    {"name": "preco", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}},
]
_CONTRACTS = {
    "avro": [*_FIELDS, *_NESTED, *_LOGICAL],
    "flat": [*_FIELDS, _NESTED[0], *_LOGICAL],  # Avro that is read field by field
    "csv": [*_FIELDS, *_LOGICAL],
    "jsonl": [*_FIELDS, *_NESTED],
    "parquet": [*_FIELDS, *_NESTED, *_LOGICAL],
}

COMPARE = "tests.faults.test_mutated_files:compare"


def _format(kind: str) -> str:
    return "avro" if kind == "flat" else kind


def _contract(kind: str) -> dict[str, Any]:
    return {"type": "record", "name": "pedido", "fields": _CONTRACTS[kind]}


def _record(number: int) -> dict[str, Any]:
    return {
        "id": f"proponente_{number}",
        "quando": 1_700_000_000_000 + number * 977,
        "nome": None if number % 5 == 0 else f'José "{number}", filho\n' if number % 7 == 0 else "Ana",
        "valor": number * 1.25,
        "ativo": number % 2 == 0,
        "anos": None if number % 3 == 0 else number,
        "tipo": "FISICA" if number % 4 else "JURIDICA",
        "local": None if number % 6 == 0 else {"uf": "SP", "lat": -23.5 if number % 2 else None},
        "notas": list(range(number % 4)),
        "dia": date(2026, 1, 1) + timedelta(days=number),
        "hora": None if number % 4 == 0 else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number),
        "preco": Decimal(number * 7).scaleb(-2),
    }


def _records(kind: str, count: int) -> list[dict[str, Any]]:
    names = [each["name"] for each in _CONTRACTS[kind]]
    return [{name: _record(number)[name] for name in names} for number in range(count)]


def _good(kind: str, variant: int) -> bytes:
    records = _records(kind, 60)
    if _format(kind) == "avro":
        out = io.BytesIO()
        codec = ("null", "deflate")[variant % 2]
        schema = fastavro.parse_schema(_contract(kind))
        fastavro.writer(out, schema, records, codec=codec, sync_interval=900, sync_marker=SYNC)
        return out.getvalue()
    if kind == "parquet":
        fields = [
            arrow_field(each.name, each.type) for each in parse_contract(json.dumps(_contract(kind))).record.fields
        ]
        sink = io.BytesIO()
        table = pa.Table.from_pylist(records, pa.schema(fields))
        pq.write_table(table, sink, row_group_size=_GROUP, write_page_checksum=bool(variant % 2), compression="snappy")
        return sink.getvalue()
    if kind == "jsonl":
        return "\n".join(json.dumps(each, ensure_ascii=bool(variant % 2)) for each in records).encode()
    return _csv(records, ("\r\n", "\n")[variant % 2])


def _csv(records: list[dict[str, Any]], end: str) -> bytes:
    lines = [",".join(records[0])]
    lines += [",".join(_cell(value) for value in record.values()) for record in records]
    return (end.join(lines) + end).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(each in text for each in '",\n') else text


def _key(record: dict[str, Any]) -> str:
    return json.dumps(record, default=_plain, sort_keys=True)


def _plain(value: Any) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


def compare(task: tuple[str, tuple[bytes, ...]]) -> list[str]:
    """Runs in a worker: what is wrong with the decoding of each mutant, in words."""
    kind, batch = task
    document = _contract(kind)
    contract = parse_contract(json.dumps(document))
    found: list[str] = []
    for number, data in enumerate(batch):
        if number % 10 == 0:
            form_of.cache_clear()  # what was learnt of borders, and that it led nowhere, is forgotten
        found.extend(f"{number}: {problem}" for problem in _problems(kind, data, document, contract))
    return found


def _problems(kind: str, data: bytes, document: Any, contract: Any) -> Iterator[str]:
    parts = list(decode(memoryview(data), _format(kind), contract, Limits()))
    accepted = [record for part in parts if part.records is not None for record in part.records.to_pylist()]
    rejects = [reject for part in parts for reject in part.rejects]
    rows = [row for part in parts if part.rows is not None for row in part.rows.tolist()]
    taken = sorted([*rows, *(reject.row for reject in rejects)])
    if len(set(taken)) != len(taken):
        yield "a record number was given twice"
    if kind == "jsonl" and len(taken) != sum(bool(line.strip(b" \t\r\n")) for line in data.split(b"\n")):
        yield "records read do not equal lines"
    if _format(kind) == "avro" and not schema_intact(data, document):
        return
    wanted = Counter(map(_key, _READERS[kind](data, document)))
    missing = wanted - Counter(map(_key, accepted))
    excused = sum(_excused(reject, wanted.total()) for reject in rejects)
    if missing.total() > excused:
        yield f"{missing.total()} records of a strict reader are missing, {excused} excused: {list(missing)[:1]}"


def _excused(reject: Reject, all_records: int) -> int:
    """How many records a strict reader may have that were refused with this one.

    A Parquet file or row group whose footer cannot be right is refused as a whole. The rest of a broken CSV record of
    several lines is read anew, perhaps from within quotes.
    """
    if reject.detail.startswith("a record that cannot") or "no sync marker" in reject.detail:
        return reject.records if _TOO_LONG.search(reject.raw) else 0
    if "than its footer says" in reject.detail:
        return _GROUP
    if "not a readable Parquet file" in reject.detail:
        return all_records
    cut = "fields, not" in reject.detail and reject.raw.count(b'"') % 2 == 1
    return cut or any(words in reject.detail for words in _EXCUSED)


def _run(kind: str, count: int, seed: int) -> None:
    with Workers(2, 1 << 30) as workers:
        for variant in range(2):
            damaged = list(mutants(_good(kind, variant), count // 2, seed + variant))
            for start in range(0, len(damaged), 100):
                workers.submit(Call(COMPARE, (kind, tuple(damaged[start : start + 100])), 60.0))
        while workers.pending:
            call, outcome = workers.next()
            batch = call.argument[1]
            if isinstance(outcome, Died) and outcome.reason is Reason.TOO_LARGE and kind in _BELIEVES_SIZES:
                half = len(batch) // 2  # as ingest does; alone it is refused
                for part in filter(None, (batch[:half], batch[half:])) if half else ():
                    workers.submit(Call(COMPARE, (kind, part), 60.0))
                continue
            assert isinstance(outcome, Value), (kind, outcome)
            assert not outcome.value, outcome.value


@pytest.mark.parametrize("kind", sorted(_READERS))
def test_good_files_are_read_whole(kind: str) -> None:
    for variant in range(2):
        assert not compare((kind, (_good(kind, variant),)))
        parts = list(
            decode(
                memoryview(_good(kind, variant)), _format(kind), parse_contract(json.dumps(_contract(kind))), Limits()
            )
        )
        assert [record for part in parts for record in part.records.to_pylist()] == _records(kind, 60)


@pytest.mark.parametrize(
    ("kind", "count"), [("avro", 1_000), ("flat", 1_000), ("csv", 600), ("jsonl", 600), ("parquet", 400)]
)
def test_mutants(kind: str, count: int) -> None:
    _run(kind, count, seed=1)


@pytest.mark.parametrize(("kind", "number"), [("avro", 640), ("avro", 2944), ("csv", 20801)])
def test_mutants_that_were_hard_to_judge(kind: str, number: int) -> None:
    """A number of more than 64 bits in a block of the wrong length; a record that is cut within its quotes."""
    assert not compare((kind, (mutant(_good(kind, 0), 1_000, number),)))


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", sorted(_READERS))
def test_many_mutants(kind: str) -> None:
    _run(kind, 250_000, seed=1_000)


def _hostile() -> dict[str, bytes]:
    """Files made to harm their reader, all with the header of a good one where that is possible."""
    good = _good("avro", 0)
    start = good.index(SYNC) + 16
    packed = _good("avro", 1)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join([*(bomb.compress(bytes(1 << 20)) for _ in range(400)), bomb.flush()])
    head = packed[: packed.index(SYNC) + 16]
    recursive = good[:start].replace(b'"name": "id", "type": "string"', b'"name": "id", "type": "pedido"')
    return {
        "bomb": head + write_long(5) + write_long(len(body)) + body + SYNC,
        "count": good[:start] + write_long(1 << 40) + write_long(8) + bytes(8) + SYNC + good[start:],
        "string": good[:start] + write_long(1) + write_long(9) + write_long(1 << 30) + bytes(4) + SYNC,
        "array": good[:start] + write_long(1) + write_long(60) + bytes(14) + write_long(1 << 40) + bytes(60),
        "recursive": recursive + good[start:],
        "deep": b"Obj\x01\x02\x16avro.schema" + write_long(200_000) + b"[" * 200_000 + b"\x00" + bytes(16),
        "wide": b"Obj\x01" + write_long(1 << 50) + b"\x02a\x02b" * 1_000,
        "empty": b"",
    }


def test_hostile_files_cost_only_themselves(tmp_path: Path) -> None:
    files = {**_hostile(), "good1": _good("avro", 0), "good2": _good("avro", 1)}
    jobs = []
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        jobs.append(FileJob(name, str(tmp_path / name), "avro", len(data)))
    with Workers(2, 512 << 20) as workers:
        job = Job(tuple(jobs), json.dumps(_contract("avro")), Limits(worker_seconds=20), datetime.now(UTC))
        done = {each.name: each for each in run_jobs(workers, [job]).files}
    assert {name: done[name].accepted for name in files if done[name].accepted} == {
        "good1": 60,
        "good2": 60,
        "count": 60,
    }
    reasons = {name: {str(reject.reason) for reject in done[name].rejects} for name in files}
    assert reasons["bomb"] == {"too_large"}
    assert reasons["recursive"] == reasons["deep"] == {"schema_mismatch"}
    assert reasons["wide"] == reasons["empty"] == {"corrupt_file"}
    assert reasons["count"] == reasons["string"] == reasons["array"] == {"corrupt_record"}
    assert all(reject.records < 100 for each in done.values() for reject in each.rejects)


def test_what_ends_its_worker_costs_its_block_alone(tmp_path: Path) -> None:
    good = _good("avro", 1)
    start = good.index(SYNC) + 16
    fat = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join([*(fat.compress(bytes(1 << 20)) for _ in range(120)), fat.flush()])
    block = write_long(4_000_000) + write_long(len(body)) + body + SYNC
    jobs = []
    for name, data in {"a": good, "fat": good[:start] + block + good[start:], "b": good}.items():
        (tmp_path / name).write_bytes(data)
        jobs.append(FileJob(name, str(tmp_path / name), "avro", len(data)))
    with Workers(1, 160 << 20) as workers:
        job = Job(tuple(jobs), json.dumps(_contract("avro")), Limits(worker_seconds=60), datetime.now(UTC))
        done = {each.name: each for each in run_jobs(workers, [job]).files}
    assert {name: each.accepted for name, each in done.items()} == {"a": 60, "fat": 60, "b": 60}
    (reject,) = done["fat"].rejects
    assert (reject.row, reject.reason, reject.records) == (0, "too_large", 4_000_000)


def _parquet(values: pa.Array, compression: str = "snappy") -> bytes:
    sink = io.BytesIO()
    schema = pa.schema([pa.field("v", pa.binary(), nullable=False)])
    pq.write_table(pa.table({"v": values}, schema=schema), sink, use_dictionary=False, compression=compression)
    return sink.getvalue()


CONTRACT_OF_BYTES = json.dumps({"type": "record", "name": "p", "fields": [{"name": "v", "type": "bytes"}]})


def test_what_needs_more_memory_than_a_worker_has_is_called_so(tmp_path: Path) -> None:
    """Whatever the reader of a format makes of a failed allocation, it is not called damage; good files are kept."""
    good = _parquet(pa.array([b"a", b"b"]))
    bombs = {name: _parquet(pa.array([bytes(300 << 20)]), name) for name in ("zstd", "gzip", "brotli")}
    jobs = []
    for name, data in {"good": good, **bombs, "damaged": good[:-10] + bytes(10)}.items():
        (tmp_path / name).write_bytes(data)
        jobs.append(FileJob(name, str(tmp_path / name), "parquet", len(data)))
    with Workers(1, 160 << 20) as workers:
        job = Job(tuple(jobs), CONTRACT_OF_BYTES, Limits(), datetime.now(UTC))
        done = {each.name: each for each in run_jobs(workers, [job]).files}
    reasons = {name: [str(reject.reason) for reject in each.rejects] for name, each in done.items()}
    assert reasons == {"good": [], **{name: ["too_large"] for name in bombs}, "damaged": ["corrupt_file"]}
    assert done["good"].accepted == 2


def test_a_worker_that_is_short_of_memory_refuses_nothing(tmp_path: Path) -> None:
    data = _parquet(pa.array([random.Random(at).randbytes(1 << 20) for at in range(40)]))
    (tmp_path / "a").write_bytes(data)
    wanted = FileJob("a", str(tmp_path / "a"), "parquet", len(data))
    with Workers(1, 300 << 20) as workers:
        workers.submit(Call("tests.unit.ingest.killers:keep", 250 << 20, 30.0))
        assert workers.next()[1] == Value(250 << 20)
        job = Job((wanted,), CONTRACT_OF_BYTES, Limits(), datetime.now(UTC))
        (done,) = run_jobs(workers, [job]).files
    assert (done.accepted, done.rejects) == (40, ())
