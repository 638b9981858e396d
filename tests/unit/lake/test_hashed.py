"""Files in order of a hash: what has a key is found, whatever shape the values have; others may be found as well."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalab.lake import hashed
from datalab.lake.hashed import file_id, hashes_of, is_hashable, opened, trusted, with_hashes, write_hashed
from datalab.lake.mapped import write_mapped
from datalab.lake.table import DataFile, Marks
from datalab.names import TableName

NAME = TableName.parse("gold.resumo")
OF = (DataFile("/lake/a.parquet", 3, 9, gone=(Marks("/lake/d.parquet", 2, 9),)), DataFile("/lake/b.parquet", 4, 9))
TEXT = pa.string()
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
KINDS: tuple[tuple[pa.DataType, list[Any]], ...] = (
    (pa.int8(), [None, 0, 1, -1]),
    (pa.int32(), [None, 0, 7, -7]),
    (pa.int64(), [None, 0, 1, -1, 2**62]),
    (pa.date32(), [None, date(2026, 1, 1), date(1960, 1, 1)]),
    (pa.timestamp("us", "UTC"), [None, MOMENT, datetime(1960, 1, 1, tzinfo=UTC)]),
    (pa.binary(), [None, b"", b"\0", b"\0\0", b"\0" * 9]),
    (pa.string(), [None, "", "a", "é", "x" * 7, "x" * 8, "x" * 9, *("y" * n for n in (31, 32, 33, 64, 65, 300))]),
)

HASHES = ["0000000000000000", "c7490fce50083a40", "56164c00d3f3b5f0", "5851f42d4c957f2d"]
NUMBERS = ["2a0a6c0285034331", "0000000000000000", "0d2e2f1c3adbf14c"]


def written(folder: Path, values: list[Any], kind: pa.DataType = TEXT) -> DataFile:
    rows = pa.table({"k": pa.chunked_array([values], kind), "n": pa.array(range(len(values)), pa.int64())})
    return write_hashed(NAME, str(folder), rows.column("k"), rows, OF)


def found(file: DataFile, *values: Any, kind: pa.DataType = TEXT) -> list[int]:
    return sorted(with_hashes(opened(file).rows, pa.chunked_array([list(values)], kind)).column("n").to_pylist())


@pytest.mark.parametrize(("kind", "values"), KINDS)
def test_each_value_has_a_hash_of_its_own_and_is_found(tmp_path: Path, kind: pa.DataType, values: list[Any]) -> None:
    assert is_hashable(kind)
    hashes = hashes_of(pa.chunked_array([values], kind))
    assert len(set(hashes.tolist())) == len(values)
    file = written(tmp_path, [*values, *values], kind)
    for number, value in enumerate(values):
        assert found(file, value, kind=kind) == [number, number + len(values)]
    assert found(file, *values, kind=kind) == list(range(2 * len(values)))
    assert found(file, kind=kind) == []


def test_types_whose_equal_values_have_other_bits_are_not_hashed() -> None:
    for kind in (pa.float64(), pa.decimal128(10, 2), pa.struct([("a", pa.int64())]), pa.bool_(), pa.uint64()):
        assert not is_hashable(kind)


@given(st.lists(st.none() | st.text(max_size=80), max_size=20), st.integers(0, 20))
def test_a_hash_is_of_the_value_alone(values: list[str | None], at: int) -> None:
    whole = hashes_of(pa.chunked_array([values], pa.string()))
    parts = hashes_of(pa.chunked_array([values[:at], values[at:]], pa.string()))
    sliced = [hashes_of(pa.chunked_array([pa.array(values, pa.string()).slice(n, 1)]))[0] for n in range(len(values))]
    assert whole.tolist() == parts.tolist() == sliced
    assert all(
        (a == b) == (h == i) for a, h in zip(values, sliced, strict=True) for b, i in zip(values, sliced, strict=True)
    )


def test_hashes_never_change() -> None:
    values = pa.chunked_array([["", "12345678901", "x" * 100, None]])
    assert [f"{value:016x}" for value in hashes_of(values)] == HASHES
    assert [f"{value:016x}" for value in hashes_of(pa.chunked_array([pa.array([-1, 0, 42])]))] == NUMBERS


def test_rows_of_many_batches_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed, "_BATCH_ROWS", 64)
    chance = random.Random(1)
    values = [f"{chance.randrange(500)}" for _ in range(3000)]
    file = written(tmp_path, values)
    assert len(opened(file).rows.column("k").chunks) > 10
    wanted = {f"{number}" for number in range(0, 600, 7)}
    assert found(file, *wanted) == [n for n, value in enumerate(values) if value in wanted]


def test_values_that_share_a_hash_are_all_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed, "hashes_of", lambda values: np.full(len(values), 7, np.uint64))
    monkeypatch.setattr(hashed, "_BATCH_ROWS", 2)
    assert found(written(tmp_path, ["a", "b", "c"]), "b") == [0, 1, 2]


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, ["a", "b"])
    assert opened(file).files == (("a.parquet", 5), ("b.parquet", 4)) == tuple(map(file_id, OF))
    rows = pa.table({"k": ["a"]})
    plain = write_mapped(NAME, str(tmp_path), rows.schema, rows.to_batches())
    with pytest.raises(ValueError, match="damaged"):
        opened(plain)


def test_damage_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    file = written(tmp_path, [f"{n}" for n in range(50)])
    assert trusted((file,)) is not None
    path, content = Path(file.path), Path(file.path).read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        assert trusted((file,)) is None
    path.write_bytes(content)
    assert trusted((file,)) is not None
    path.write_bytes(content[:-9])
    assert trusted((file,)) is None
    assert trusted((file, file)) is None


def test_what_an_earlier_version_wrote_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed, "_FORM", "1")
    file = written(tmp_path, ["a"])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="form"):
        opened(file)
