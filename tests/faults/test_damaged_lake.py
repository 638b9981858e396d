"""Files of a lake that are cut, gone, of another table or not what they were: the right rows, or an error by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.operations import FORMATS
from tests.journeys.pedidos import Pedidos, order

from datalab.errors import DataLabError
from datalab.lake.formats import iceberg
from datalab.lake.formats.iceberg_live import Manifests
from datalab.platform.lab import Lab
from datalab.platform.settings import load

pytestmark = pytest.mark.slow
ASKED = "SELECT * FROM silver.pedidos ORDER BY id"


@pytest.fixture
def pedidos(tmp_path: Path, datalab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, table_format: str) -> Pedidos:
    """Two deliveries, each with a record that goes to quarantine."""
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", table_format)
    monkeypatch.setenv("DATALAB__RUN__RETRIES", "0")
    made = Pedidos(tmp_path / "pedidos", datalab).create()
    made.pipeline("poucos EXPECT (pedidos < 3)", "muitos EXPECT (pedidos < 1000)")
    for day in range(2):
        lines = [order(f"{day}-{number}", valor=day + number + 1) for number in range(20)]
        made.deliver(f"d{day}", *lines, order(f"{day}-x", valor=-1))
        made.run()
    return made


def newest(pedidos: Pedidos, below: str, pattern: str) -> Path:
    found = [path for path in (pedidos.folder / "lake" / below).rglob(pattern) if not path.parent.name.startswith("_")]
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def told(pedidos: Pedidos, sql: str) -> tuple[str, str]:
    """The error of a query: message and hint."""
    with Lab(load(pedidos.folder, environ=os.environ)) as lab, pytest.raises(DataLabError) as caught:
        lab.query(sql).read_all()
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("table_format", FORMATS)
def test_a_data_file_of_another_table_is_not_read(pedidos: Pedidos) -> None:
    place, other = newest(pedidos, "silver/pedidos", "*.parquet"), newest(pedidos, "bronze/pedidos", "*.parquet")
    shutil.copyfile(other, place)
    message, hint = told(pedidos, ASKED)
    assert f"{place} is damaged: it has " in message
    assert "backup" in hint


@pytest.mark.parametrize("table_format", FORMATS)
@pytest.mark.parametrize("damage", ["cut", "longer", "gone", "changed"])
def test_a_data_file_that_is_not_whole_is_named(pedidos: Pedidos, damage: str) -> None:
    place = newest(pedidos, "silver/pedidos", "*.parquet")
    data = place.read_bytes()
    place.unlink()
    if damage != "gone":
        place.write_bytes(
            {"cut": data[:-20], "longer": data + b"x", "changed": data[:9] + bytes(len(data) - 9)}[damage]
        )
    message, hint = told(pedidos, ASKED)
    assert f"{place} is {'gone' if damage == 'gone' else 'damaged'}" in message
    assert "backup" in hint


@pytest.mark.parametrize("table_format", FORMATS)
@pytest.mark.parametrize("table", ["silver.pedidos", "ops.quarantine"])
@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_catalog_that_was_lost_is_not_an_empty_lake(
    pedidos: Pedidos, table: str, damage: str, table_format: str
) -> None:
    lake = pedidos.folder / "lake"
    if table_format == "iceberg":
        (lake / "catalog.db").unlink()
        if damage == "empty":
            (lake / "catalog.db").touch()
    else:
        shutil.rmtree(lake / table.replace(".", "/") / "_delta_log")
    message, hint = told(pedidos, f"SELECT * FROM {table}")
    assert message.startswith(f"{table}: there is no such table, and ")
    assert "backup" in hint


@pytest.mark.parametrize("table_format", ["iceberg"])
@pytest.mark.parametrize("pattern", ["*-m0.avro", "snap-*.avro", "*.metadata.json"])
def test_metadata_that_is_damaged_is_named(pedidos: Pedidos, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iceberg, "_MANIFESTS", Manifests())  # another process, which has not read any yet
    for place in (pedidos.folder / "lake/silver/pedidos/metadata").glob(pattern):
        data = bytearray(place.read_bytes())
        for at in range(len(data) // 3, len(data) // 3 + 60):
            data[at] = 0xC3
        place.write_bytes(data)
    message, hint = told(pedidos, ASKED)
    assert "silver/pedidos/metadata" in message
    assert "backup" in hint
    monkeypatch.setenv("DATALAB__MAINTENANCE__KEEP", "1")
    for command in ("optimize", "expire", "vacuum"):
        answer = pedidos.datalab("data", command, "silver.pedidos", "--project", pedidos.folder)
        assert answer.code in (0, 8)
        assert answer.code == 0 or "silver/pedidos/metadata" in answer.err
    assert answer.code == 8  # what nobody can read may not be swept around


@pytest.mark.parametrize("table_format", FORMATS)
@pytest.mark.parametrize("folder", ["_state", "_changes"])
@pytest.mark.parametrize("damage", ["cut", "gone", "another"])
def test_side_files_that_are_not_whole_are_not_needed(pedidos: Pedidos, folder: str, damage: str) -> None:
    for number, place in enumerate(sorted((pedidos.folder / "lake").glob(f"*/*/{folder}/*"))):
        data = place.read_bytes()
        if damage == "gone":
            place.unlink()
        else:
            place.write_bytes(data[: len(data) - 9 - number] if damage == "cut" else data + data[:64])
    pedidos.deliver("d3", *(order(f"3-{number}", uf="PR") for number in range(20)), order("0-1", valor=1_000, versao=2))
    pedidos.run()
    told_of = pedidos.rows("SELECT uf, pedidos, total FROM gold.por_uf")
    assert told_of == pedidos.rows("SELECT uf, count(*), sum(valor) FROM silver.pedidos GROUP BY uf")
