"""Remembered types change no answer of a command: present, gone, damaged, or of another pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.pedidos import Pedidos, order

KEPT = ".datalab/checked/types.json"
LOADED = "import sys, datalab.cli.app as a; a.execute(['--project', sys.argv[1], 'run', '--json']); print(*sys.modules)"


@pytest.fixture
def pedidos(project: Path, datalab: Callable[..., Any], warm: None) -> Pedidos:
    made = Pedidos(project, datalab).create()
    made.deliver("um", order("a"))
    made.run()
    return made


def test_the_next_process_believes_what_was_found_and_loads_no_engine(pedidos: Pedidos) -> None:
    pedidos("plan")
    kept = pedidos.folder / KEPT
    before = kept.stat()
    said = subprocess.run(
        [sys.executable, "-c", LOADED, str(pedidos.folder)], capture_output=True, text=True, check=True
    ).stdout
    assert '"nothing_to_do"' in said
    assert not {"duckdb", "datalab.engine.duckdb", "sqlglot.generators.duckdb"} & set(said.split())
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_plans_and_runs_are_the_same_without_it(pedidos: Pedidos) -> None:
    pedidos("plan")
    pedidos.deliver("dois", order("b"))
    with_it = pedidos("plan", "--json").json
    kept = pedidos.folder / KEPT
    for damage in (b"", kept.read_bytes()[:-9], json.dumps({"key": 1, "tables": {}}).encode()):
        kept.write_bytes(damage)
        assert pedidos("plan", "--json").json == with_it
    kept.unlink()
    assert pedidos.run().json["status"] == "ok"
    assert pedidos.rows("SELECT count(*) FROM silver.pedidos") == [(2,)]


def test_a_pipeline_that_went_wrong_is_told_though_nothing_is_new(pedidos: Pedidos) -> None:
    pedidos("plan")
    pedidos.pipeline("sum(valor) AS total", "sum(valores) AS total")
    assert "valores" in pedidos("plan", code=5).err
    assert "valores" in pedidos.run(code=5).err
    pedidos.pipeline("sum(valores) AS total", "sum(valor) AS total")
    assert pedidos.run().json["status"] == "nothing_to_do"


def test_a_contract_that_went_wrong_is_told_though_nothing_is_new(pedidos: Pedidos) -> None:
    pedidos("plan")
    pedidos.contract(valor={"type": "array", "items": "long"})
    assert "Cannot compare values of type BIGINT[]" in pedidos("plan", code=5).err
