"""What a command loads: taking records in needs nobody who computes."""

from __future__ import annotations

import subprocess
import sys

from tests.journeys.pedidos import Pedidos, order

INGEST = (
    "import sys, datalab.cli.app as a; a.execute(['--project', sys.argv[1], 'ingest', '--json']); print(*sys.modules)"
)


def test_records_are_taken_in_and_recorded_without_an_engine(pedidos: Pedidos) -> None:
    pedidos.deliver("um", order("a"))
    command = [sys.executable, "-c", INGEST, str(pedidos.folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '"ok"' in said
    assert not {"duckdb", "datalab.engine.duckdb", "polars"} & set(said.split())
    assert pedidos.rows("SELECT target, status, written FROM ops.steps") == [("bronze.pedidos", "ok", 1)]
