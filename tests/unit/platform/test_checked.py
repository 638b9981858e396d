"""Remembered types: the same answer whatever is in the file, and another key for whatever matters."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from tests.declared import parse_sql

from datalab.names import TableName
from datalab.pipelines.graph import build_graph
from datalab.pipelines.types_key import types_key
from datalab.platform.checked import checking_code, remembered

KEY = "k" * 64
A, B = TableName("silver", "a"), TableName("gold", "b")
TYPES = {
    A: pa.schema([pa.field("k", pa.int64(), metadata={"id": "1"}), ("t", pa.timestamp("us", tz="UTC"))]),
    B: pa.schema([("s", pa.struct([("x", pa.list_(pa.decimal128(10, 2)))])), ("n", pa.null())]),
}
OTHER = {A: pa.schema([("wrong", pa.int8())]), B: pa.schema([])}
BRONZE = {TableName("bronze", "a"): pa.schema([("k", pa.int64()), ("t", pa.timestamp("us"))])}
TEXT = "CREATE STREAMING TABLE silver.x PARTITIONED BY (k) AS SELECT k, abs(k) FROM STREAM bronze.a"


class Checker:
    """Counts how often it is asked."""

    def __init__(self, path: Path) -> None:
        self.path, self.asked = path, 0

    def check(self) -> dict[TableName, pa.Schema]:
        self.asked += 1
        return TYPES

    def answers(self, key: str = KEY) -> bool:
        """Whether the types came from the file; they must be right in any case."""
        before = self.asked
        found = remembered(self.path, key, TYPES.keys(), self.check)
        assert found.keys() == TYPES.keys()
        assert all(found[name].equals(schema, check_metadata=True) for name, schema in TYPES.items())
        return self.asked == before


@pytest.fixture
def checker(tmp_path: Path) -> Checker:
    made = Checker(tmp_path / "checked" / "types.json")
    assert not made.answers()
    assert made.answers()
    return made


def test_types_are_remembered_under_their_key_alone_and_the_newest_stay(checker: Checker) -> None:
    assert not checker.answers("j" * 64)
    assert checker.answers("j" * 64)
    assert not checker.answers(KEY)
    assert [path.name for path in checker.path.parent.iterdir()] == ["types.json"]


def test_nothing_is_missed_when_the_folder_goes(checker: Checker) -> None:
    checker.path.unlink()
    checker.path.parent.rmdir()
    assert not checker.answers()
    assert checker.answers()


def test_a_file_of_other_tables_is_not_believed(checker: Checker) -> None:
    remembered(checker.path, KEY, {A}, lambda: {A: TYPES[A]})
    checker.path.unlink()
    remembered(checker.path, KEY, {A}, lambda: {A: TYPES[A]})
    assert not checker.answers()


def test_damage_anywhere_is_noticed(checker: Checker) -> None:
    good = checker.path.read_bytes()
    for place in range(0, len(good), 7):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]):
            checker.path.write_bytes(bad)
            checker.path.chmod(0o600)
            checker.answers()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"key": "' + b"k" * 64 + b'"}',
        b'{"tables": [1], "key": 2}',
    ],
)
def test_what_is_no_memory_is_ignored(checker: Checker, content: bytes) -> None:
    checker.path.write_bytes(content)
    assert not checker.answers()
    assert checker.answers()


def test_types_that_do_not_fit_their_digest_are_ignored(checker: Checker) -> None:
    good = json.loads(checker.path.read_text())
    remembered(checker.path, "j" * 64, OTHER.keys(), lambda: OTHER)
    checker.path.write_text(json.dumps({**good, "tables": json.loads(checker.path.read_text())["tables"]}))
    assert not checker.answers()


def test_a_file_that_others_can_write_is_ignored(checker: Checker) -> None:
    checker.path.chmod(0o666)
    assert not checker.answers()
    assert checker.answers()


def test_links_pipes_and_folders_are_ignored(checker: Checker) -> None:
    kept = checker.path.rename(checker.path.with_name("elsewhere"))
    checker.path.symlink_to(kept)
    assert not checker.answers()
    checker.path.unlink()
    os.mkfifo(checker.path, 0o600)
    assert not checker.answers()
    checker.path.unlink()
    checker.path.mkdir()
    assert not checker.answers()
    assert [path for path in checker.path.parent.iterdir() if path not in (checker.path, kept)] == []


def test_where_nothing_can_be_written_types_are_checked_each_time(tmp_path: Path) -> None:
    (tmp_path / "checked").write_text("in the way")
    checker = Checker(tmp_path / "checked" / "types.json")
    assert not checker.answers()
    assert not checker.answers()


def key(text: str = TEXT, schemas: dict[TableName, pa.Schema] = BRONZE, **code: object) -> str:
    return types_key(build_graph(parse_sql(text, "p.sql"), BRONZE), schemas, code)


def test_the_same_declarations_have_the_same_key() -> None:
    assert key() == key()
    assert len(key()) == 64


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("PARTITIONED BY (k)", "PARTITIONED BY (t)"),
        TEXT.replace("PARTITIONED BY (k)", "CLUSTER BY (k)"),
        TEXT.replace("abs(k)", "abs(`k`)"),
        TEXT.replace("abs(k)", "abs(k) AS t"),
        TEXT.replace("silver.x", "silver.x (CONSTRAINT c EXPECT (k > 0))"),
        TEXT.replace("silver.x", "silver.x (k BIGINT, t BIGINT)"),
        TEXT.replace("silver.x", "silver.y"),
        f"{TEXT}; CREATE FLOW f AS INSERT INTO silver.x BY NAME SELECT * FROM STREAM bronze.a",
        f"{TEXT}; CREATE FLOW f AS INSERT INTO silver.x SELECT * FROM STREAM bronze.a",
    ],
)
def test_whatever_decides_types_changes_the_key(text: str) -> None:
    assert key(text) != key()


def test_columns_of_the_sources_and_the_code_that_checks_change_the_key() -> None:
    (name,) = BRONZE
    assert key(schemas={name: pa.schema([("k", pa.int32()), ("t", pa.timestamp("us"))])}) != key()
    assert key(duckdb="1") != key(duckdb="2")


def test_the_code_that_checks_is_known_by_its_versions_and_its_files() -> None:
    code = checking_code()
    assert {"datalab", "python", "duckdb", "pyarrow", "sqlglot"} <= code.keys()
    assert any(name == "typecheck.py" for name, *_ in code["files"])  # type: ignore[attr-defined]
    assert checking_code() == code
