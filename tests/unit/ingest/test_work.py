"""The work of a worker, done in this process: mapped files, files that change, positions in each row."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datalab.ingest import content
from datalab.ingest.content import Unstable, opened
from datalab.ingest.contracts import bronze_schema, parse_contract
from datalab.ingest.decode.parts import Part
from datalab.ingest.decode.spans import Span
from datalab.ingest.jobs import FileJob, Job
from datalab.ingest.limits import Limits
from datalab.ingest.work import count_job, decode_job, describe_job
from datalab.lake.table import WriteTarget
from datalab.names import TableName

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
TEXT = json.dumps({"type": "record", "name": "p", "fields": [{"name": "n", "type": "long"}]})
LINES = b"".join(b'{"n": %d}\n' % at for at in range(50))


def job(path: Path, target: WriteTarget | None = None, **more: object) -> Job:
    each = FileJob("landing/a.jsonl", str(path), "jsonl", path.stat().st_size, **more)  # type: ignore[arg-type]
    return Job((each,), TEXT, Limits(worker_memory=1 << 30), NOW, target)


@pytest.mark.parametrize("mapped", [1, 1 << 30])
def test_rows_carry_their_position(tmp_path: Path, mapped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_MAPPED", mapped)
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES + b'{"n": "x"}\n')
    target = WriteTarget(TableName("bronze", "p"), str(tmp_path / "out"), bronze_schema(parse_contract(TEXT)))
    done = decode_job(job(path, target))
    (each,), (data,) = done.files, done.data
    assert (each.accepted, [reject.row for reject in each.rejects], data.rows) == (50, [50], 50)
    rows = pq.read_table(data.path).sort_by("source_row").to_pylist()
    assert [row["n"] for row in rows] == [row["source_row"] for row in rows] == list(range(50))
    assert {(row["source_file"], row["source_version"]) for row in rows} == {("landing/a.jsonl", each.version)}
    size, mtime, digest = each.version.split("-")
    assert (int(size), int(mtime), len(digest)) == (path.stat().st_size, path.stat().st_mtime_ns, 16)


@pytest.mark.parametrize("mapped", [1, 1 << 30])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, mapped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_MAPPED", mapped)
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    real = Path.stat

    def growing(self: Path, **more: bool) -> object:
        if self == path:
            with path.open("ab") as file:
                file.write(b'{"n": 1}\n')
        return real(self, **more)

    monkeypatch.setattr(Path, "stat", growing)
    with pytest.raises(Unstable), opened(str(path)):
        pass


def test_a_file_that_is_gone_is_a_problem_and_not_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    wanted = job(path)
    path.unlink()
    (each,) = decode_job(wanted).files
    assert (each.accepted, each.rejects, each.problem) == (0, (), "it is gone")


def test_another_version_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    (each,) = decode_job(job(path, version="1-2-0123456789abcdef")).files
    assert (each.accepted, each.problem) == (0, "it has other content than when it was read")


def test_units_are_counted_and_described(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    assert count_job(job(path)) == 50
    unit = describe_job(job(path, span=Span(7, 8)))
    assert (unit.row, unit.records, unit.raw) == (7, 1, b'{"n": 7}')


def test_a_compressed_file_is_named_by_what_lies_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES))
    each = FileJob("a.jsonl.gz", str(path), "jsonl.gz", path.stat().st_size)
    (done,) = decode_job(Job((each,), TEXT, Limits(), NOW)).files
    assert (done.accepted, done.version.split("-")[0]) == (50, str(path.stat().st_size))


def test_a_mapped_file_that_is_taken_away_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_MAPPED", 1)
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    with pytest.raises(Unstable), opened(str(path)):
        path.unlink()


def test_a_disk_that_fails_while_records_are_decoded_keeps_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some may be with the writer already: the file must not count as untouched."""

    def failing(*_args: object) -> Iterator[Part]:
        yield Part()
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    monkeypatch.setattr("datalab.ingest.work.decode", failing)
    with pytest.raises(OSError, match="Input/output"):
        decode_job(job(path))
