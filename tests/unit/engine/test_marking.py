"""Marks name the rows that leave, wherever they lie in a file of many row groups, and readers pass over just these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import exp

from datalab.engine.base import Query, ReplaceGroups, Staged, Upsert, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.engine.session import Session
from datalab.lake.table import DataFile, Relation, WriteTarget
from datalab.names import TableName

SCHEMA = pa.schema([("k", pa.int64()), ("grupo", pa.int64()), ("__sequence", pa.int64())])
ROWS, GROUP = 20_000, 500
SOME = [0, 1, 499, 500, 12_345, 19_999]


@pytest.fixture
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine("500MB", threads=2)
    yield engine
    engine.close()


@pytest.fixture
def files(tmp_path: Path) -> tuple[DataFile, ...]:
    found = []
    for number in range(2):
        keys = range(number * ROWS, (number + 1) * ROWS)
        path = tmp_path / f"{number}.parquet"
        pq.write_table(rows(list(keys), 1), path, row_group_size=GROUP)
        bounds = {"k": keys[0]}, {"k": keys[-1]}
        found.append(DataFile(str(path), ROWS, path.stat().st_size, (), *bounds, {"k": 0}))
    return tuple(found)


def rows(keys: list[int | None], sequence: int) -> pa.Table:
    groups = [None if key is None else key % 1000 for key in keys]
    return pa.table({"k": keys, "grupo": groups, "__sequence": [sequence] * len(keys)}, schema=SCHEMA)


def query(table: pa.Table) -> Query:
    tree = exp.select(*[exp.column(name, quoted=True) for name in table.column_names]).from_("t")
    return Query(tree, {"t": Relation(table.schema, memory=table)}, datetime.now(UTC))


def target(tmp_path: Path, mark_rows: int = 1) -> WriteTarget:
    return WriteTarget(TableName("silver", "x"), str(tmp_path / "table"), SCHEMA, mark_rows=mark_rows)


def upserting(keys: list[int | None], sequence: int, files: tuple[DataFile, ...], tmp_path: Path) -> Work:
    current = Relation(SCHEMA, files)
    return Work(query(rows(keys, sequence)), target(tmp_path), Upsert(("k",), "__sequence"), (), current)


def positions(staged: Staged) -> dict[str, list[int]]:
    """The rows that each file loses."""
    found: dict[str, list[int]] = {}
    for marking in staged.marked:
        for marks in marking.fresh:
            table = pq.read_table(marks.path)
            assert set(table.column("file_path").to_pylist()) == {marking.file.path}
            found.setdefault(Path(marking.file.path).stem, []).extend(table.column("pos").to_pylist())
    return found


def after(files: tuple[DataFile, ...], staged: Staged) -> tuple[DataFile, ...]:
    marked = {marking.file.path: marking for marking in staged.marked}
    kept = [
        replace(file, gone=marked[file.path].gone, rows=file.rows - marked[file.path].went, nulls={})
        if file.path in marked
        else file
        for file in files
        if file not in staged.remove
    ]
    return (*kept, *staged.add)


def read(engine: DuckDBEngine, relation: Relation) -> dict[int, int]:
    tree = exp.select("k", exp.column("__sequence").as_("s")).from_("t")
    table = engine.read(Query(tree, {"t": relation}, datetime.now(UTC))).read_all()
    found = dict(zip(table.column("k").to_pylist(), table.column("s").to_pylist(), strict=True))
    assert len(found) == table.num_rows
    return found


def test_upserts_in_several_steps(engine: DuckDBEngine, files: tuple[DataFile, ...], tmp_path: Path) -> None:
    expected = dict.fromkeys(range(2 * ROWS), 1)
    for sequence, first in enumerate((0, 1, 2, 2, 0, 1, 7), 2):
        keys = [key + first + number * ROWS for key in SOME for number in (0, 1) if key + first < ROWS]
        staged = engine.stage(upserting([*keys], sequence, files, tmp_path))
        if first == 0 and sequence == 2:
            assert {name: sorted(found) for name, found in positions(staged).items()} == {"0": SOME, "1": SOME}
        files = after(files, staged)
        expected |= dict.fromkeys(keys, sequence)
        assert read(engine, Relation(SCHEMA, files)) == expected
        assert sum(file.rows for file in files) == 2 * ROWS
        assert max(len(file.gone) for file in files) <= 4


def test_groups_are_replaced(engine: DuckDBEngine, files: tuple[DataFile, ...], tmp_path: Path) -> None:
    touched = pa.table({"grupo": [7, 999]}, schema=pa.schema([("grupo", pa.int64())]))
    new = rows([7, 999], 2)
    mode = ReplaceGroups(("grupo",), query(touched))
    staged = engine.stage(Work(query(new), target(tmp_path), mode, (), Relation(SCHEMA, files)))
    assert {name: len(found) for name, found in positions(staged).items()} == {"0": 40, "1": 40}
    expected = {key: 1 for key in range(2 * ROWS) if key % 1000 not in (7, 999)} | {7: 2, 999: 2}
    assert read(engine, Relation(SCHEMA, after(files, staged))) == expected


def test_keys_without_a_value(engine: DuckDBEngine, files: tuple[DataFile, ...], tmp_path: Path) -> None:
    path = tmp_path / "null.parquet"
    pq.write_table(rows([*range(50_000, 60_000), None], 1), path, row_group_size=GROUP)
    files = (*files, DataFile(str(path), 10_001, path.stat().st_size))
    for sequence in (2, 3):
        staged = engine.stage(upserting([None, 5], sequence, files, tmp_path))
        files = after(files, staged)
    found = read(engine, Relation(SCHEMA, files))
    assert (len(found), found[5], found[None]) == (50_001, 3, 3)  # type: ignore[index]


def test_small_files_and_many_rows_are_written_again(
    engine: DuckDBEngine, files: tuple[DataFile, ...], tmp_path: Path
) -> None:
    keys = [*range(ROWS // 4 + 1), ROWS]
    work = Work(query(rows([*keys], 2)), target(tmp_path), Upsert(("k",), "__sequence"), (), Relation(SCHEMA, files))
    staged = engine.stage(work)
    assert ([file.path for file in staged.remove], len(staged.marked)) == ([files[0].path], 1)
    assert read(engine, Relation(SCHEMA, after(files, staged))) == {
        key: 2 if key in set(keys) else 1 for key in range(2 * ROWS)
    }
    for mark_rows in (0, ROWS + 1):
        assert not engine.stage(replace(work, target=target(tmp_path, mark_rows))).marked
    engine.discard(staged)
    assert not list((tmp_path / "table").rglob("gone-*"))


def test_some_rows_of_a_file_alone(engine: DuckDBEngine, files: tuple[DataFile, ...], tmp_path: Path) -> None:
    """As differences name them: the same file more than once, each time with other rows."""
    work = Work(query(rows([*SOME], 2)), target(tmp_path), Upsert(("k",), "__sequence"), (), Relation(SCHEMA, files))
    (first,) = engine.stage(work).marked
    again = replace(work, query=query(rows([2, 3], 3)), current=Relation(SCHEMA, (replace(files[0], gone=first.gone),)))
    (second,) = engine.stage(again).marked
    parts = (replace(files[0], only=first.fresh), replace(second.file, only=second.fresh))
    assert sorted(read(engine, Relation(SCHEMA, parts))) == sorted([*SOME, 2, 3])
    assert read(engine, Relation(SCHEMA, (replace(files[0], only=first.fresh, gone=first.fresh),))) == {}


def test_few_rows_are_merged_in_few_statements(engine, files, tmp_path, monkeypatch):
    asked: list[str] = []
    run = Session._run
    monkeypatch.setattr(Session, "_run", lambda session, sql: asked.append(sql) or run(session, sql))
    staged = engine.stage(upserting([5, 6, 7], 2, files, tmp_path))
    assert (staged.written, staged.superseded) == (3, 0)
    assert len(asked) <= 11
    late = engine.stage(upserting([5, 6, 7, 50_000], 0, files, tmp_path))
    assert (late.written, late.superseded, late.marked) == (1, 3, ())
