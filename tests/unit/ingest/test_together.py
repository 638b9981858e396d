"""Small files decoded at once: the same answer as one by one, and damage that stays with its file."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.parquet as pq
import pytest

from datalab.ingest import together
from datalab.ingest.contracts import bronze_schema, parse_contract
from datalab.ingest.jobs import Done, FileJob, Job
from datalab.ingest.limits import Limits
from datalab.ingest.work import decode_job
from datalab.lake.table import WriteTarget
from datalab.names import TableName

SCHEMA = {
    "type": "record",
    "name": "pedido",
    "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": ["null", "long"]}],
}
OTHER = {**SCHEMA, "fields": [SCHEMA["fields"][0], {"name": "n", "type": "int"}]}
STRICT = {**SCHEMA, "fields": [SCHEMA["fields"][0], {"name": "n", "type": "long"}]}
NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


def container(number: int, schema: dict[str, Any], codec: str = "null") -> bytes:
    out = io.BytesIO()
    rows = [{"id": f"f{number}r{at}", "n": at} for at in range(number % 4)]
    fastavro.writer(out, fastavro.parse_schema(schema), rows, codec=codec)
    return out.getvalue()


def files(folder: Path) -> list[FileJob]:
    """Two schemas, three codecs, empty files, and some that are damaged in several ways."""
    made = [container(at, OTHER if at % 5 == 0 else SCHEMA, ("null", "deflate", "null")[at % 3]) for at in range(40)]
    made[6] = made[6][:-20]
    made[11] = made[11].replace(b"f11r1", b"f1\xff\xff1")
    made[15] = b"no avro"
    made[22] = made[22][:-17] + bytes([made[22][-17] ^ 1]) + made[22][-16:]
    jobs = []
    for at, data in enumerate(made):
        path = folder / f"{at:02}.avro"
        path.write_bytes(data)
        jobs.append(FileJob(path.name, str(path), "avro", len(data)))
    return jobs


def decoded(folder: Path, jobs: list[FileJob], contract: dict[str, Any]) -> tuple[Done, list[Any]]:
    text = json.dumps(contract)
    target = WriteTarget(TableName("bronze", "p"), str(folder), bronze_schema(parse_contract(text)))
    done = decode_job(Job(tuple(jobs), text, Limits(), NOW, target))
    rows = [row for file in done.data for row in pq.read_table(file.path).to_pylist()]
    return done, sorted(rows, key=lambda row: (row["source_file"], row["source_row"]))


@pytest.mark.parametrize("contract", [SCHEMA, STRICT])
@pytest.mark.parametrize("enough", [1, 500, 1 << 20])
def test_joined_and_alone_answer_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contract: dict[str, Any], enough: int
) -> None:
    jobs = files(tmp_path)
    monkeypatch.setattr(together, "_SMALL", -1)
    alone, expected = decoded(tmp_path / "alone", jobs, contract)
    monkeypatch.setattr(together, "_SMALL", 1 << 20)
    monkeypatch.setattr(together, "_ENOUGH", enough)
    joined, rows = decoded(tmp_path / "joined", jobs, contract)
    assert rows == expected
    assert len(rows) > 40
    assert sorted(joined.files, key=lambda each: each.name) == sorted(alone.files, key=lambda each: each.name)
    assert {each.name for each in joined.files if each.rejects} >= {"06.avro", "11.avro", "15.avro"}
