"""Corrections of few rows in a large file: the rows are marked as gone where the format can do that, the file stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyiceberg.expressions import EqualTo
from sqlglot import exp
from tests.contracts.formats_files import PLAIN, plain_catalog
from tests.journeys.shop import Row, Shop

from datalab.engine import copying
from datalab.engine.base import Engine, Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import Fenced
from datalab.lake.lake import Lake, open_lake
from datalab.lake.maintenance.compact import compact
from datalab.lake.maintenance.expire import expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.vacuum import vacuum
from datalab.lake.provenance import Provenance
from datalab.lake.restore import restore
from datalab.lake.table import Change, DataFile, Difference, Marking, Rewriting, TableState
from datalab.names import TableName

SILVER, GOLD = TableName.parse("silver.pedidos"), TableName.parse("gold.por_uf")
AT_ONCE = Goals(keep=1, keep_for=timedelta(0), readers=timedelta(0), orphans=timedelta(0))
SQL = """
    CREATE STREAMING TABLE silver.pedidos {parts} TBLPROPERTIES ('datalab.mark_rows' = '1' {more});
    CREATE FLOW atualiza AS AUTO CDC INTO silver.pedidos FROM STREAM bronze.pedidos KEYS (id) SEQUENCE BY versao;
    CREATE MATERIALIZED VIEW gold.por_uf TBLPROPERTIES ('datalab.mark_rows' = '1') AS
    SELECT uf, sum(valor) AS total FROM silver.pedidos GROUP BY uf;
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    yield engine
    engine.close()


@pytest.fixture(autouse=True, params=[False, True], ids=["again", "copied"])
def copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether files that are not marked are copied, small as they are, or written again."""
    monkeypatch.setattr(copying, "_SMALL", 1 if request.param else 1_000_000)
    return bool(request.param)


def row(number: int, version: int = 1, groups: int = 500, **changed: object) -> Row:
    return {"id": f"{number}", "versao": version, "uf": f"{number % groups}", "valor": number, **changed}


def opened(engine: Engine, table_format: str, folder: Path, parts: str = "", more: str = "", groups: int = 500) -> Shop:
    shop = Shop(open_lake(table_format, str(folder / "lake")), engine, SQL.format(parts=parts, more=more))
    shop.add([row(number, groups=groups) for number in range(1000)])
    shop.run()
    return shop


@pytest.fixture(params=["iceberg", "delta"])
def shop(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Shop:
    return opened(engine, request.param, tmp_path)


@pytest.fixture
def marked(engine: Engine, tmp_path: Path) -> Shop:
    return opened(engine, "iceberg", tmp_path)


def correct(shop: Shop, *numbers: int, version: int = 2) -> TableState:
    shop.add([row(number, version, valor=-number) for number in numbers])
    shop.run()
    return shop.lake.require(SILVER)


def live(lake: Lake, snapshot: int | None = None, table: TableName = SILVER) -> tuple[DataFile, ...]:
    return lake.files(lake.require(table), snapshot).files


def values(shop: Shop) -> dict[str, int]:
    """The values by id; every id once."""
    rows = shop.rows("silver.pedidos")
    assert len({each["id"] for each in rows}) == len(rows)
    return {each["id"]: each["valor"] for each in rows}


def plain(shop: Shop, tmp_path: Path, table_format: str = "iceberg") -> dict[str, int]:
    """The same as the format's own library reads it."""
    rows = PLAIN[table_format](tmp_path / "lake", SILVER)
    found = dict(zip(rows.column("id").to_pylist(), rows.column("valor").to_pylist(), strict=True))
    assert len(found) == rows.num_rows
    return found


def corrected(*numbers: int) -> dict[str, int]:
    return {f"{number}": -number if number in numbers else number for number in range(1000)}


def merge(shop: Shop, goals: Goals = Goals()) -> list[DataFile]:  # noqa: B008 - frozen
    done = compact(shop.lake, SILVER, goals, shop.engine.rewrite, "m", lambda *_: None)
    return list(done.removed)


def test_the_file_stays_and_every_reader_sees_the_newest_rows(shop: Shop, tmp_path: Path) -> None:
    (before,) = live(shop.lake)
    state = correct(shop, 3, 999)
    known = shop.lake.format(state.format).capabilities
    files = {file.path: file for file in live(shop.lake)}
    assert (before.path in files) is known.marks
    assert sum(file.rows for file in files.values()) == 1000
    assert values(shop) == plain(shop, tmp_path, state.format) == corrected(3, 999)
    last = shop.lake.history(state)[-1]
    assert (last.rows_total, last.rows_added - last.rows_removed) == (1000, 0)
    if known.marks:
        assert (last.rows_added, last.rows_removed, last.files_removed) == (2, 2, 0)
        (gone,) = files[before.path].gone
        assert pq.read_table(gone.path).to_pydict() == {"file_path": [before.path] * 2, "pos": _places(before, 3, 999)}


def _places(file: DataFile, *numbers: int) -> list[int]:
    ids = pq.read_table(file.path).column("id").to_pylist()
    return sorted(ids.index(f"{number}") for number in numbers)


def test_corrections_of_corrections_and_views_over_them(shop: Shop, tmp_path: Path) -> None:
    for version, numbers in enumerate([(1, 2, 3), (3, 4), (1, 500), (999,)], 2):
        state = correct(shop, *numbers, version=version)
        totals = {int(each["uf"]): each["total"] for each in shop.rows("gold.por_uf")}
        held = values(shop)
        assert totals == {group: held[f"{group}"] + held[f"{group + 500}"] for group in range(500)}
    assert held == plain(shop, tmp_path, state.format) == corrected(1, 2, 3, 4, 500, 999)
    assert max(len(file.gone) for file in live(shop.lake)) == (1 if state.marks else 0)
    assert any(file.gone for file in live(shop.lake, table=GOLD)) is state.marks


def test_a_difference_is_the_rows_of_the_change(marked: Shop) -> None:
    first = marked.lake.require(SILVER).snapshot
    middle = correct(marked, 3, 4).snapshot
    state = correct(marked, 5)
    for since, went in ((first, 3), (middle, 1)):
        difference = marked.lake.format("iceberg").diff(state, since, state.snapshot or 0)
        assert _rows(marked, difference) == (went, went)
        changed = marked.lake.changed(state, since, state.snapshot or 0)
        assert _rows(marked, changed) == (went, went)


def test_older_snapshots_stay_as_they_were_and_come_back(marked: Shop, tmp_path: Path) -> None:
    first = marked.lake.require(SILVER).snapshot
    second = correct(marked, 3, 4).snapshot
    state = correct(marked, 4, 5, version=3)
    assert [sum(len(file.gone) for file in live(marked.lake, each)) for each in (first, second)] == [0, 1]
    for snapshot, wanted in ((first, corrected()), (second, corrected(3, 4)), (state.snapshot, corrected(3, 4, 5))):
        before = marked.lake.require(SILVER).snapshot
        after = restore(marked.lake, SILVER, snapshot or 0, "r")
        assert values(marked) == plain(marked, tmp_path) == wanted
        assert marked.lake.history(after)[-1].rows_total == 1000
        change = marked.lake.changed(after, before, after.snapshot or 0)
        came, gone = _rows(marked, change)
        assert came == gone
        marked.run()
        totals = {each["uf"]: each["total"] for each in marked.rows("gold.por_uf")}
        assert totals["3"] == 500


def test_compaction_folds_the_marks_back(marked: Shop, tmp_path: Path) -> None:
    correct(marked, 3)
    (worn,) = (file for file in live(marked.lake) if file.gone)
    assert worn.path not in {file.path for file in merge(marked)}
    correct(marked, *range(100, 205))
    assert worn.path in {file.path for file in merge(marked)}
    assert not any(file.gone for file in live(marked.lake))
    assert values(marked) == plain(marked, tmp_path) == corrected(3, *range(100, 205))
    state = marked.lake.require(SILVER)
    now = datetime.now(UTC) + timedelta(seconds=5)
    assert any("gone-" in file.path for file in expire(marked.lake, SILVER, (), AT_ONCE, now).files)
    vacuum(marked.lake, SILVER, timedelta(0), now)
    assert list(marked.lake.format("iceberg").upkeep.strays(marked.lake.require(SILVER))) == []
    assert not list(Path(state.target().location).glob("gone-*"))
    assert values(marked) == plain(marked, tmp_path) == corrected(3, *range(100, 205))
    summary = state.handle.metadata.current_snapshot().summary
    assert (summary["total-delete-files"], summary["total-position-deletes"]) == ("0", "0")


def test_expiry_and_cleaning_keep_the_marks_of_what_is_live(marked: Shop, tmp_path: Path) -> None:
    correct(marked, 3)
    correct(marked, 4)
    now = datetime.now(UTC) + timedelta(seconds=5)
    expire(marked.lake, SILVER, (), AT_ONCE, now)
    vacuum(marked.lake, SILVER, timedelta(0), now)
    assert values(marked) == plain(marked, tmp_path) == corrected(3, 4)


def test_many_rows_write_the_file_again(marked: Shop) -> None:
    (first,) = live(marked.lake)
    correct(marked, *range(300))
    assert first.path not in {file.path for file in live(marked.lake)}
    assert values(marked) == corrected(*range(300))


def test_many_steps_are_joined_and_any_two_snapshots_still_compare(marked: Shop, tmp_path: Path) -> None:
    snapshots = [marked.lake.require(SILVER).snapshot or 0]
    for version in range(2, 9):
        state = correct(marked, 900 + version, 950 + version, version=version)
        newest = marked.lake.history(state)[-1]
        assert (newest.rows_added, newest.rows_removed, newest.rows_total) == (2, 2, 1000)
        snapshots.append(newest.id)
    assert max(len(file.gone) for file in live(marked.lake)) == 1
    assert values(marked) == plain(marked, tmp_path) == corrected(*range(902, 909), *range(952, 959))
    state = marked.lake.require(SILVER)
    for first, last in ((0, 7), (3, 5), (4, 7)):
        wanted = (2 * (last - first), 2 * (last - first))
        since, until = snapshots[first], snapshots[last]
        assert _rows(marked, marked.lake.changed(state, since, until)) == wanted
        assert _rows(marked, marked.lake.format("iceberg").diff(state, since, until)) == wanted
    restore(marked.lake, SILVER, snapshots[3], "r")
    assert values(marked) == plain(marked, tmp_path) == corrected(*range(902, 905), *range(952, 955))
    state = marked.lake.require(SILVER)
    assert _rows(marked, marked.lake.changed(state, snapshots[-1], state.snapshot or 0)) == (8, 8)


def _rows(shop: Shop, difference: Difference) -> tuple[int, int]:
    """The rows that are on one side only."""
    sides = []
    for relation in (difference.added, difference.removed):
        query = Query(exp.select("id", "versao").from_("t"), {"t": relation}, datetime.now(UTC))
        sides.append(Counter(map(str, shop.engine.read(query).read_all().to_pylist())))
    return (sides[0] - sides[1]).total(), (sides[1] - sides[0]).total()


def test_a_property_says_that_files_are_written_again(engine: Engine, tmp_path: Path) -> None:
    shop = opened(engine, "iceberg", tmp_path, more=", 'write.merge.mode' = 'copy-on-write'")
    correct(shop, 3)
    assert not any(file.gone for file in live(shop.lake))
    assert values(shop) == corrected(3)


def test_marks_in_a_partitioned_table(engine: Engine, tmp_path: Path) -> None:
    shop = opened(engine, "iceberg", tmp_path, parts="PARTITIONED BY (uf)", groups=2)
    shop.add([row(number, 2, groups=2, valor=-number) for number in (3, 4)])
    shop.run()
    assert [len(file.gone) for file in live(shop.lake) if file.rows > 1] == [1, 1]
    assert values(shop) == plain(shop, tmp_path) == corrected(3, 4)


def test_a_compaction_that_read_the_file_before_is_fenced(marked: Shop, tmp_path: Path) -> None:
    state = marked.lake.require(SILVER)
    files = live(marked.lake)
    copies = marked.engine.rewrite(Rewriting(state.target(), marked.lake.files(state), (), (), 1 << 30))
    correct(marked, 3)
    with pytest.raises(Fenced):
        marked.lake.commit(state, Change(Provenance("m", "maintenance", "compact"), copies, files))
    assert values(marked) == plain(marked, tmp_path) == corrected(3)


def test_marks_of_a_file_that_was_merged_meanwhile_are_fenced(marked: Shop, tmp_path: Path) -> None:
    state = correct(marked, 3)
    (worn,) = (file for file in live(marked.lake) if file.gone)
    correct(marked, *range(100, 205))
    assert worn.path in {file.path for file in merge(marked)}
    with pytest.raises(Fenced):
        marked.lake.commit(state, Change(Provenance("r", "x", "upsert"), marked=(Marking(worn, ()),)))
    assert values(marked) == plain(marked, tmp_path) == corrected(3, *range(100, 205))


def test_other_writers_may_go_on_with_such_a_table(marked: Shop, tmp_path: Path) -> None:
    correct(marked, 3, 4)
    with plain_catalog(tmp_path / "lake") as catalog:
        table = catalog.load_table(str(SILVER))
        table.delete(EqualTo("id", "7"))
    assert values(marked) == plain(marked, tmp_path) == {k: v for k, v in corrected(3, 4).items() if k != "7"}
