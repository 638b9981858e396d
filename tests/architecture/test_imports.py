"""Imports: one direction, no cycles, none of our own inside functions, heavy libraries only where they are used."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from tests.architecture.source import PACKAGE, ROOT, dotted, functions, modules, own_imports, tree

HEAVY = [
    "deltalake", "duckdb", "fastavro", "matplotlib", "numpy", "polars", "pyarrow", "pyiceberg", "sqlalchemy",
    "sqlglot",
]  # fmt: skip


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def heavy_modules_after(statement: str) -> list[str]:
    probe = f"{statement}; import sys; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    answer = run(sys.executable, "-c", probe)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_own_module_is_imported_inside_a_function(path: Path) -> None:
    assert {node.name: list(own_imports(node)) for node in functions(tree(path)) if list(own_imports(node))} == {}


def test_there_are_no_import_cycles() -> None:
    known = {dotted(path) for path in modules()}

    def module_of(name: str) -> str:
        return name if name in known else name.rpartition(".")[0]

    graph = {dotted(path): {module_of(name) for name in own_imports(tree(path))} - {dotted(path)} for path in modules()}
    TopologicalSorter(graph).prepare()


def test_the_layers_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    answer = run(str(linter))
    assert answer.returncode == 0, answer.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert heavy_modules_after("import datalab, datalab.errors, datalab.events, datalab.names") == []


@pytest.mark.parametrize("line", [["--help"], ["--version"], ["config", "--help"]])
def test_help_loads_no_heavy_library(line: list[str]) -> None:
    assert heavy_modules_after(f"from datalab.cli.app import execute; execute({line!r}); print()") == []


def test_a_decoding_worker_loads_what_decodes_and_writes_alone() -> None:
    wanted = "import datalab.ingest.worker, datalab.ingest.message_work, datalab.ingest.work"
    assert heavy_modules_after(wanted) == ["numpy", "pyarrow"]
    wanted = "from datalab.ingest.worker import load_for; load_for('datalab.ingest.work:decode_job')"
    assert heavy_modules_after(wanted) == ["numpy", "pyarrow"]


@pytest.mark.parametrize("command", ["ingest", "run"])
def test_taking_records_in_loads_no_parser_of_sql(command: str) -> None:
    assert heavy_modules_after(f"import datalab.cli.{command}") == ["numpy", "pyarrow"]


def test_iceberg_tables_are_opened_without_arrows_own_engine() -> None:
    answer = run(sys.executable, "-c", "import datalab.lake.formats.iceberg, sys; print(*sys.modules)")
    assert not {"pyarrow.dataset", "pyarrow._acero", "pyiceberg.io.pyarrow"} & set(answer.stdout.split())
    assert "pyiceberg.table" in answer.stdout.split()
