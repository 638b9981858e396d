"""Records that clients push: through the log into bronze like records of files, each once, with their position."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.pedidos import SETTINGS, Pedidos, order

from datalab.ingest.push.log import PushLog

SERVER = """
import os, signal, sys
from pathlib import Path
from datalab.ingest.push.log import PushLog
PushLog(Path(sys.argv[1])).append(sys.argv[2].encode() + b"\\n", 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def pedidos(tmp_path: Path, datalab: Callable[..., Any], warm: None) -> Pedidos:
    project = Pedidos(tmp_path, datalab).create()
    project.write("datalab.yaml", SETTINGS.replace("landing/*.jsonl}", "landing/*.jsonl, push: true}"))
    return project


def test_pushed_records_enter_bronze_once_beside_those_of_files(pedidos: Pedidos) -> None:
    pedidos.deliver("a", order("1"))
    log = PushLog(pedidos.folder / "push" / "pedidos")
    first = log.append(f"{order('2')}\n{order('3', valor='many')}\n".encode(), 2, "k1")
    log.append(f"{order('4')}\n".encode(), 1, "k2")
    pedidos.run()
    assert [row[0] for row in pedidos.rows("SELECT id FROM bronze.pedidos")] == ["1"]  # the log's file is still open
    log.close()
    pedidos.run()
    assert pedidos.rows("SELECT id, source_file, source_row FROM bronze.pedidos") == [
        ("1", "landing/a.jsonl", 0),
        ("2", f"push/pedidos/{first.file}", 0),
        ("4", f"push/pedidos/{first.file}", 2),
    ]
    assert pedidos.rows(
        "SELECT source_file, source_row, reason FROM ops.quarantine WHERE target = 'bronze.pedidos'"
    ) == [(f"push/pedidos/{first.file}", 1, "wrong_type")]
    assert pedidos.run().json["status"] == "nothing_to_do"


def test_what_a_server_acknowledged_before_it_was_killed_comes_in_without_another_server(pedidos: Pedidos) -> None:
    folder = pedidos.folder / "push" / "pedidos"
    assert subprocess.run([sys.executable, "-c", SERVER, folder, order("1")], check=False).returncode == -9
    assert [each.suffix for each in folder.iterdir() if not each.name.startswith(".")] == [".part"]
    pedidos.run()
    assert [row[0] for row in pedidos.rows("SELECT id FROM bronze.pedidos")] == ["1"]
    assert pedidos.run().json["status"] == "nothing_to_do"
