"""Few rows written by Arrow: what a file has, and what happens where it cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datalab.errors import LakeError, StorageFull
from datalab.lake.rows import write_rows
from datalab.lake.table import WriteTarget
from datalab.names import TableName

FIELDS = [("id", pa.string()), ("seconds", pa.float64()), ("at", pa.timestamp("us", "UTC")), ("count", pa.int64())]
SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"PARQUET:field_id": str(at)}) for at, (name, kind) in enumerate(FIELDS, 1)]
)
ROWS = pa.table({"count": pa.array([3, 5], pa.int32()), "id": ["a", "b"], "seconds": [0.5, float("nan")]})


def target(folder: Path) -> WriteTarget:
    return WriteTarget(TableName("ops", "runs"), f"file://{folder}/data", SCHEMA)


def test_rows_lie_in_the_columns_of_the_table_and_lacking_ones_are_null(tmp_path: Path) -> None:
    file = write_rows(target(tmp_path), ROWS)
    assert Path(file.path).parent == tmp_path / "data"
    found = pq.read_table(file.path)
    assert found.schema.equals(SCHEMA, check_metadata=True)
    assert found.drop_columns("seconds").to_pylist() == [
        {"id": name, "at": None, "count": count} for name, count in (("a", 3), ("b", 5))
    ]
    assert pq.read_metadata(file.path).row_group(0).column(0).compression == "ZSTD"


def test_a_file_is_described_as_what_it_is(tmp_path: Path) -> None:
    file = write_rows(target(tmp_path), ROWS)
    assert (file.rows, file.size, file.partition) == (2, Path(file.path).stat().st_size, ())
    assert (file.lower, file.upper) == ({"id": "a", "count": 3}, {"id": "b", "count": 5})
    assert file.nulls == {"id": 0, "seconds": 0, "at": 2, "count": 0}


def test_columns_that_the_table_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="field names"):
        write_rows(target(tmp_path), ROWS.append_column("cpf", pa.array(["1", "2"])))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "raised"), [(errno.ENOSPC, StorageFull), (errno.EIO, LakeError)])
def test_a_disk_that_fails_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raised: type[Exception]
) -> None:
    def fail(path: Path, _: object) -> None:
        path.touch()
        raise OSError(number, "the disk")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(raised, match=r"ops\.runs"):
        write_rows(target(tmp_path), ROWS)
    assert list((tmp_path / "data").iterdir()) == []
