"""Avro files into bronze, decoding processes and their start included; and the look for news among consumed files."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.measure import Measured, measured, middle, typical
from benchmarks.report import Goal, Result, cost
from benchmarks.scratch import Scratch, emptied

BRONZE, SOURCE = "bronze.dados_produtores_agro", "dados_produtores"
RECORDS, FILES = 1_000_000, 100
CONSUMED, RECORDS_A_FILE = 10_000, 20
MIN_RATE, MAX_SECONDS = 500_000, 0.5


def ingest(scratch: Scratch, table_format: str, repeat: int, records: int = RECORDS) -> Result:
    """Simulated records without and with bad ones, from files to committed bronze rows, beside the least there is."""
    least = _least(scratch, records, repeat)
    base = typical(least, "work")
    rate = least[0].answer["rows"] / base
    lines = [{**cost("Polars and DuckDB, nothing checked", middle(least)), "work s": base, "records/s": rate}]
    goals = []
    for bad in ("0", "0.5%"):
        runs = _taken_in(scratch.landed(records, FILES, bad), table_format, repeat)
        step, work = runs[0].answer["steps"][BRONZE], typical(runs, "work")
        told = {"work s": work, "records/s": step["read"] / work, "ratio": work / base}
        line = cost(f"{step['read']:,} records in {FILES} files, {bad} bad", middle(runs))
        lines.append({**line, **told, "quarantined": step["quarantined"]})
        if records >= RECORDS:
            goals.append(Goal(f"ingest, {bad} bad", step["read"] / work, MIN_RATE, "records/s", at_least=True))
    return Result(f"ingest, {table_format}", lines, goals)


def _least(scratch: Scratch, records: int, repeat: int) -> list[Measured]:
    project = scratch.landed(records, FILES)
    runs, folder = [], project / "decoded"
    for _ in range(max(repeat, 3)):
        runs.append(measured("decoding", landing=project / "landing" / SOURCE, folder=folder))
        shutil.rmtree(folder)
    return runs


def _taken_in(project: Path, table_format: str, repeat: int) -> list[Measured]:
    runs = []
    for _ in range(max(repeat, 3)):
        emptied(project)
        runs.append(measured("ingest", project=project, table_format=table_format))
    return runs


def pending(scratch: Scratch, table_format: str, repeat: int, files: int = CONSUMED) -> Result:
    """The look for new files where all of them have been consumed."""
    project = scratch.landed(files * RECORDS_A_FILE, files)
    emptied(project)
    taken = measured("ingest", project=project, table_format=table_format)
    runs = [measured("pending", project=project, table_format=table_format) for _ in range(max(repeat, 5))]
    if any(run.answer["new"] for run in runs):
        raise SystemExit("files that were consumed are still new")
    work = typical(runs, "work")
    lines = [cost(f"{files:,} small files taken in", taken)]
    lines.append({**cost(f"look for news among {runs[0].answer['total']:,} files", middle(runs)), "work s": work})
    return Result(f"pending, {table_format}", lines, [Goal("look for news", work, MAX_SECONDS, "s")])
