"""Writers, maintenance and readers at the same table at the same time: what was acknowledged is there, and whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.operations import PARTS, SCHEMA, TABLE, Place
from tests.faults.side_by_side import ENOUGH, SHARED, appends, begin, maintains, reads, together, upserts

from datalab.lake.layout import MARK_ROWS_KEY
from datalab.lake.maintenance.vacuum import vacuum
from datalab.lake.table import TableSpec

QUICK, FULL = 10.0, 900.0  # seconds
FOUR = [appends, upserts, maintains, reads]
EIGHT = [appends, upserts, maintains, reads, appends, upserts, maintains, reads]


@pytest.mark.slow
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_four_processes_at_one_table(tmp_path: Path, table_format: str) -> None:
    _side_by_side(tmp_path, table_format, FOUR, QUICK)


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_eight_processes_at_one_table_for_long(tmp_path: Path, table_format: str) -> None:
    _side_by_side(tmp_path, table_format, EIGHT, FULL)


def _side_by_side(tmp_path: Path, table_format: str, works: list[Callable[..., None]], seconds: float) -> None:
    place = Place.open(table_format, tmp_path / "lake")
    state = place.lake.define(TABLE, TableSpec(SCHEMA, properties={MARK_ROWS_KEY: "1"}))
    begin(place, state)
    told = together(works, (table_format, str(tmp_path / "lake"), seconds), tmp_path, seconds + 120)
    state = place.lake.require(TABLE)
    held = place.rows(state)
    versions = []
    for number, (work, ledger) in enumerate(zip(works, told, strict=True), 1):
        landed = [entry["landed"] for entry in ledger if "landed" in entry]
        if work is appends:
            accounts = {conta % 1_000_000 for conta, _ in held if conta // 1_000_000 == number}
            assert accounts == set(landed) == set(range(1, len(landed) + 1))
            assert len(landed) >= ENOUGH
        if work is upserts:
            assert landed == list(range(1, len(landed) + 1))
            assert len(landed) >= ENOUGH
            versions.append(landed[-1] * 10 + number)
        if work is maintains:
            assert sum(entry["merged"] for entry in ledger) > 0
        if work is reads:
            assert len({entry["snapshot"] for entry in ledger}) >= ENOUGH
    shared = {versao for (conta, _), versao in held.items() if conta <= SHARED}
    assert shared == {max(versions)}
    assert len([conta for conta, _ in held if conta <= SHARED]) == SHARED * PARTS
    vacuum(place.lake, TABLE, timedelta(0), datetime.now(UTC) + timedelta(seconds=2))
    assert list(place.lake.format(table_format).upkeep.strays(state)) == []
    assert place.rows(state) == held
    place.engine.close()
