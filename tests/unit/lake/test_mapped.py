"""Rows in files that are mapped into memory."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from datalab.errors import StorageFull
from datalab.lake.mapped import candidates, mapped, rows_at, write_mapped
from datalab.lake.table import DataFile
from datalab.names import TableName

NAME = TableName.parse("gold.resumo")
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("uf", pa.string()),
        ("ano", pa.int64()),
        ("em", pa.timestamp("us", "UTC")),
        ("taxa", pa.decimal128(10, 2)),
        ("grau", pa.float64()),
        ("n", pa.int64()),
    ]
)
ROWS = pa.Table.from_pylist(
    [
        {"uf": "SP", "ano": 1, "em": MOMENT, "taxa": Decimal("1.50"), "grau": 0.0, "n": 1},
        {"uf": None, "ano": 1, "em": None, "taxa": None, "grau": None, "n": 2},
        {"uf": "MT", "ano": None, "em": MOMENT, "taxa": Decimal("2.00"), "grau": 2.0, "n": 3},
    ],
    schema=SCHEMA,
)


def written(folder: Path) -> DataFile:
    return write_mapped(NAME, str(folder / "_state"), SCHEMA, ROWS.to_batches(max_chunksize=2))


def found(file: DataFile, **keys: object) -> list[int]:
    wanted = pa.Table.from_pylist([keys], schema=pa.schema([SCHEMA.field(key) for key in keys]))
    return candidates(mapped(file), wanted).column("n").to_pylist()


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert mapped(file) == ROWS
    assert (file.rows, file.size) == (3, Path(file.path).stat().st_size)


def test_rows_are_found_by_each_key_and_null_is_a_key(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert found(file, uf="SP") == [1]
    assert found(file, uf=None) == [2]
    assert found(file, uf="SP", ano=1) == [1]
    assert found(file, uf="SP", ano=None) == []
    assert found(file, em=MOMENT) == [1, 3]
    assert found(file, taxa=Decimal("2.00")) == [3]
    assert found(file, uf="RJ") == []


def test_numbers_that_are_equal_in_other_bits_are_not_lost(tmp_path: Path) -> None:
    assert 1 in found(written(tmp_path), grau=-0.0)


def test_no_rows_are_a_file_too(tmp_path: Path) -> None:
    file = write_mapped(NAME, f"file://{tmp_path}", SCHEMA, [])
    assert mapped(file).num_rows == 0
    assert found(file, uf="SP") == []


def test_a_full_disk_is_told_and_nothing_stays(tmp_path: Path) -> None:
    def batches():
        yield from ROWS.to_batches()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageFull):
        write_mapped(NAME, str(tmp_path), SCHEMA, batches())
    assert list(tmp_path.iterdir()) == []


def test_rows_are_taken_by_their_numbers(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert rows_at(file, [2, 0]).column("n").to_pylist() == [1, 3]
    assert rows_at(file, []) == ROWS.slice(0, 0)
    assert rows_at(file, [0, 1, 2]) == ROWS
