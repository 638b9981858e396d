"""Lakes for the contract suites: every table format, in a folder with a name that is hard to quote."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contracts.formats_files import PEDIDOS, SCHEMA, Place

from datalab.events import Bus
from datalab.lake.lake import open_lake
from datalab.lake.table import TableSpec, TableState


@pytest.fixture(params=["iceberg", "delta"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    warehouse = tmp_path / "armazém do João 100%"
    bus = Bus()
    return Place(request.param, warehouse, open_lake(request.param, str(warehouse), bus=bus), bus)


@pytest.fixture
def state(place: Place) -> TableState:
    return place.lake.define(PEDIDOS, TableSpec(SCHEMA))
