"""Where tables are registered: lost, damaged or held it is said so, and nothing is begun anew beside what is there."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.contracts.formats_files import PEDIDOS, SCHEMA, change, pedidos, write

from datalab.errors import LakeError
from datalab.lake.lake import open_lake
from datalab.lake.table import TableSpec


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The catalog of a lake with one commit."""
    lake = open_lake("iceberg", str(tmp_path))
    state = lake.define(PEDIDOS, TableSpec(SCHEMA))
    lake.commit(state, change(write(state, pedidos(1, 2))))
    return tmp_path / "catalog.db"


@pytest.mark.parametrize("emptied", [True, False])
def test_a_lost_catalog_is_not_begun_anew_beside_its_tables(catalog: Path, emptied: bool) -> None:
    before = set(catalog.parent.rglob("*.metadata.json"))
    kept = catalog.read_bytes()
    catalog.unlink()
    if emptied:
        catalog.touch()
    with pytest.raises(LakeError, match=r"bronze\.pedidos: the catalog .* and .*pedidos holds one with commits"):
        open_lake("iceberg", str(catalog.parent)).define(PEDIDOS, TableSpec(SCHEMA))
    assert set(catalog.parent.rglob("*.metadata.json")) == before
    catalog.write_bytes(kept)
    assert open_lake("iceberg", str(catalog.parent)).require(PEDIDOS).snapshot is not None


def test_a_table_whose_making_was_killed_is_made(catalog: Path) -> None:
    folder = catalog.parent / "bronze" / "pedidos" / "metadata"
    catalog.unlink()
    for path in folder.glob("*"):
        if not path.name.startswith("00000-"):
            path.unlink()
    assert open_lake("iceberg", str(catalog.parent)).define(PEDIDOS, TableSpec(SCHEMA)).snapshot is None


def test_a_damaged_catalog_is_said_so(catalog: Path) -> None:
    catalog.write_bytes(b"no database" * 1_000)
    with pytest.raises(LakeError, match=r"the catalog .*catalog\.db is damaged: file is not a database"):
        open_lake("iceberg", str(catalog.parent)).state(PEDIDOS)


def test_a_catalog_that_somebody_holds_is_said_so(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalab.lake.formats.iceberg_folder._BUSY_SECONDS", 0.1)
    lake = open_lake("iceberg", str(catalog.parent))
    with closing(sqlite3.connect(catalog, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LakeError, match=r"cannot be used now: database is locked"):
            lake.state(PEDIDOS)
    assert lake.require(PEDIDOS).name == PEDIDOS


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a Delta table with one commit."""
    lake = open_lake("delta", str(tmp_path))
    state = lake.define(PEDIDOS, TableSpec(SCHEMA))
    lake.commit(state, change(write(state, pedidos(1, 2))))
    return tmp_path / "bronze" / "pedidos" / "_delta_log"


@pytest.mark.parametrize("folder", ["gone", "empty"])
def test_a_lost_log_is_not_begun_anew_beside_its_data(log: Path, tmp_path: Path, folder: str) -> None:
    log.rename(tmp_path / "kept")
    if folder == "empty":
        log.mkdir()
    with pytest.raises(LakeError, match=r"bronze\.pedidos: there is no such table, and .*pedidos holds the files of"):
        open_lake("delta", str(tmp_path)).require(PEDIDOS)
    with pytest.raises(LakeError, match=r"bronze\.pedidos: .*pedidos holds data files, and the table's log is gone"):
        open_lake("delta", str(tmp_path)).define(PEDIDOS, TableSpec(SCHEMA))
    shutil.rmtree(log, ignore_errors=True)
    (tmp_path / "kept").rename(log)
    assert open_lake("delta", str(tmp_path)).require(PEDIDOS).snapshot == 1


def test_a_log_that_was_cut_is_said_so(log: Path, tmp_path: Path) -> None:
    newest = max(log.glob("*.json"))
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(LakeError, match=r"bronze\.pedidos: the table's log cannot be read: [^\n]*$"):
        open_lake("delta", str(tmp_path)).state(PEDIDOS)
