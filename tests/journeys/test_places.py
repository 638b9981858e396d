"""Where the rows of groups lie: what is kept of that makes a change cheaper, and never wrong, whatever became of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.journeys.shop import Row, Shop

from datalab.engine.base import Engine, Mode, Places, ReplaceGroups
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import CommitFailed
from datalab.lake.beside import STATE, side_files, state_files
from datalab.lake.lake import Lake, open_lake
from datalab.lake.maintenance.compact import compact
from datalab.lake.maintenance.goals import Goals
from datalab.lake.restore import restore
from datalab.lake.table import DataFile
from datalab.names import TableName
from datalab.pipelines import execute, places
from datalab.pipelines.places import PLACES

GOLD = TableName.parse("gold.por_id")
SQL = """
    CREATE MATERIALIZED VIEW gold.por_id TBLPROPERTIES ('datalab.mark_rows' = '10') AS
    SELECT id, count(*) AS n, sum(valor) AS total FROM bronze.pedidos GROUP BY id;
"""
GROUPS = 600
NOTHING = DataFile("/nothing", 0, 0)


class Watched(Shop):
    """A shop whose rows are known to the test, too, and which tells what was known of the places of groups."""

    def __init__(self, lake: Lake, engine: Engine, sql: str) -> None:
        super().__init__(lake, engine, sql)
        self.given: list[Row] = []
        self.found: list[Places | None] = []

    def change(self, *keys: str | None) -> bool:
        """Rows more of some groups, and a run; whether places of some files were known."""
        before = len(self.found)
        self.put([{"id": key, "versao": 1, "uf": "SP", "valor": len(self.given) + at} for at, key in enumerate(keys)])
        assert len(self.found) == before + 1
        return self.found[-1] is not None

    def put(self, rows: list[Row]) -> None:
        self.add(rows)
        self.given += rows
        self.run()
        self.require_right()

    def require_right(self) -> None:
        wanted: dict[str | None, tuple[int, int]] = {}
        for each in self.given:
            n, total = wanted.get(each["id"], (0, 0))
            wanted[each["id"]] = (n + 1, total + each["valor"])
        rows = self.rows("gold.por_id")
        assert len(rows) == len(wanted)
        assert {each["id"]: (each["n"], each["total"]) for each in rows} == wanted

    @property
    def kept(self) -> Path:
        """The file that tells the places."""
        state = self.lake.require(GOLD)
        (flow,) = state.positions
        (file,) = state_files(state, flow, (PLACES,)).get(PLACES, (NOTHING,))
        return Path(file.path)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    yield engine
    engine.close()


@pytest.fixture
def shop(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return watched("iceberg", engine, tmp_path, monkeypatch)


def watched(table_format: str, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(places, "LARGE", 100)
    shop = Watched(open_lake(table_format, str(folder / "lake")), engine, SQL)

    def noting(mode: Mode, *others: object) -> Mode:
        made: Mode = places.placed(mode, *others)  # type: ignore[arg-type]
        if isinstance(made, ReplaceGroups):
            shop.found.append(made.places)
        return made

    monkeypatch.setattr(execute, "placed", noting)
    shop.put([{"id": None if n == 7 else f"{n}", "versao": 1, "uf": "SP", "valor": n} for n in range(GROUPS)])
    assert not shop.change("first")
    return shop


def emptied(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lost_a_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:8192] = bytes(4096)
    file.write_bytes(content)


def with_a_bit_turned(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2000] ^= 1
    file.write_bytes(content)


DAMAGES: tuple[Callable[[Path], object], ...] = (Path.unlink, emptied, cut, lost_a_page, with_a_bit_turned)


def test_rows_are_found_where_they_are_known_to_be(shop: Watched) -> None:
    assert shop.change("3", "4", None, "new")
    found = shop.found[-1]
    assert found is not None
    assert (found.rows.num_rows, len(found.files)) == (3, 1)
    assert shop.change("3", None, "5", "new")
    assert shop.change("3")


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_as_it_was_written_is_left_alone_and_made_anew(
    shop: Watched, damage: Callable[[Path], object]
) -> None:
    assert shop.change("3")
    damage(shop.kept)
    assert not shop.change("3", "4")
    assert shop.change("3", "5")


def test_files_that_were_written_again_are_searched_and_learnt(shop: Watched) -> None:
    assert shop.change(*(f"{number}" for number in range(100)))  # a file of which a tenth is gone is written again
    done = compact(shop.lake, GOLD, Goals(file_size=2000), shop.engine.rewrite, "m", lambda *_: None)
    assert (done.error, len(done.removed)) == (None, 1)
    assert shop.change("3", "5")
    assert shop.change("3", "6")
    before, after = (found.files for found in shop.found[-2:] if found is not None)
    assert done.removed[0].path not in before
    assert before < after


def test_rows_that_a_restored_snapshot_has_again_are_found(shop: Watched) -> None:
    first = shop.lake.require(GOLD).snapshot
    assert shop.change("3", "4")
    assert shop.change("3", "5")
    restore(shop.lake, GOLD, first or 0, "r")
    assert shop.change("3", "6")
    found = shop.found[-1]
    assert found is not None
    assert found.rows.num_rows == 4


def test_of_what_another_table_has_kept_nothing_is_believed(shop: Watched, engine: Engine, tmp_path: Path) -> None:
    """Another lake's file under this name."""
    other = Watched(open_lake("iceberg", str(tmp_path / "other")), engine, SQL)
    other.put(shop.given[:-1])
    other.put(shop.given[-1:])
    file, theirs = shop.kept, other.kept
    assert file.stat().st_size == theirs.stat().st_size
    file.write_bytes(theirs.read_bytes())
    assert not shop.change("3", "4")
    assert shop.change("3", "5")


def test_a_commit_that_does_not_land_leaves_none_behind(shop: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shop.kept.parent
    shop.kept.unlink()
    before = set(folder.iterdir())
    shop.add([{"id": "3", "versao": 1, "uf": "SP", "valor": 1}])

    def refused(*_: object) -> None:
        raise CommitFailed("no")

    monkeypatch.setattr(Lake, "commit", refused)
    with pytest.raises(AssertionError):
        shop.run()
    assert set(folder.iterdir()) == before


def test_every_file_is_named_by_a_commit(shop: Watched) -> None:
    shop.change("3")
    shop.kept.unlink()
    shop.change("4")
    state = shop.lake.require(GOLD)
    found = {str(path) for path in (Path(state.target().location) / STATE).iterdir()}
    assert found <= side_files(state, shop.lake.history(state))


def test_where_rows_are_not_marked_nothing_is_kept(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = watched("delta", engine, tmp_path, monkeypatch)
    assert not shop.change("3")
    state = shop.lake.require(GOLD)
    assert not any(PLACES in state_files(state, flow) for flow in state.positions)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_in_between_the_view_is_right(shop: Watched, seed: int) -> None:
    chance = random.Random(seed)
    for turn in range(12):
        match chance.randrange(6):
            case 0:
                compact(shop.lake, GOLD, Goals(file_size=2000), shop.engine.rewrite, "m", lambda *_: None)
            case 1 if shop.kept.exists():
                chance.choice(DAMAGES)(shop.kept)
            case 2:
                history = shop.lake.history(shop.lake.require(GOLD))
                restore(shop.lake, GOLD, chance.choice(history).id, "r")
        shop.change(*(chance.choice([None, f"{chance.randrange(GROUPS)}", f"n{turn}"]) for _ in range(5)))
