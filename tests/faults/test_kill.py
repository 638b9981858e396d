"""kill -9 at random moments of a run: nothing lost, nothing twice, and the next runs catch up."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.faults.ledger import Record, compare, read_ledger
from tests.journeys.rows import close_rows, table_rows

from datalab.cli.app import execute
from datalab.platform.lab import Lab
from datalab.platform.settings import load
from datalab.platform.wish import Wish

RUNNER = Path(__file__).parent / "runner.py"
QUICK, FULL = 15, 500
GOLD = (
    "gold.proponente_features_agro",
    "gold.location_features_agro",
    "gold.risk_features_agro",
    "gold.proponente_perfil_agro",
    "gold.uf_features_agro",
)
BRONZE = {"dados_produtores": "bronze.dados_produtores_agro", "desfechos_credito": "bronze.desfechos_credito"}
SEQUENCE = {"dados_produtores": "metadata_evento.timestamp_geracao_evento", "desfechos_credito": "data_desfecho"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_killed_runs_lose_and_double_nothing(tmp_path, table_format, monkeypatch):
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", table_format)
    _kill_many(tmp_path, table_format, QUICK)


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_killed_runs_lose_and_double_nothing_in_the_long_run(tmp_path, table_format, monkeypatch):
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", table_format)
    _kill_many(tmp_path, table_format, FULL)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_runs_at_the_same_time_take_everything_in_once(tmp_path, table_format, monkeypatch):
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", table_format)
    folder = tmp_path / "agro"
    assert execute(["init", str(folder), "--template", "agro", "--quiet"]) == 0
    ledgers = []
    for number in range(2):
        ledgers.append(_simulate(folder, tmp_path, number))
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(_run, folder, table_format, None) for _ in range(3)]
            assert all(run.result() is not None for run in runs)
    _check(folder, ledgers)


def _kill_many(tmp_path: Path, table_format: str, kills: int) -> None:
    chance = random.Random(20261120)
    folder = tmp_path / "agro"
    assert execute(["init", str(folder), "--template", "agro", "--quiet"]) == 0
    ledgers, duration = [_simulate(folder, tmp_path, 0)], 1.5
    killed = 0
    while killed < kills:
        if len(ledgers) <= kills // 3 and killed >= 3 * len(ledgers):
            ledgers.append(_simulate(folder, tmp_path, len(ledgers)))
        survived = _run(folder, table_format, chance.uniform(0, duration))
        if survived is None:
            killed += 1
        else:
            duration = max(0.2, min(duration, survived))
            ledgers.append(_simulate(folder, tmp_path, len(ledgers)))
    assert _run(folder, table_format, None) is not None
    _check(folder, ledgers)


def _simulate(folder: Path, tmp_path: Path, number: int) -> Path:
    ledger = tmp_path / f"ledger-{number}.jsonl"
    arguments = ["--rows", "300", "--files", "3", "--bad", "3%", "--late", "5%", "--duplicates", "5%"]
    assert execute(["data", "simulate", "--project", str(folder), *arguments, "--ledger", str(ledger)]) == 0
    return ledger


def _run(folder: Path, table_format: str, seconds: float | None) -> float | None:
    """Run once; killed after so many seconds (None: not at all). Answers how long it took, None if it was killed."""
    command = [sys.executable, str(RUNNER), str(folder), table_format]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read() if process.stderr else ""
        started = time.monotonic()
        process.stdin.write("\n")
        process.stdin.flush()
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None
        assert process.returncode == 0, out + err
        return time.monotonic() - started


def _check(folder: Path, ledgers: list[Path]) -> None:
    with Lab(load(folder, environ=os.environ)) as lab:
        for source, table in BRONZE.items():
            produced = [entry for path in ledgers for entry in read_ledger(path, source)]
            held = table_rows(
                lab, f"SELECT source_file, source_row, proponente_id, {SEQUENCE[source]} AS s FROM {table}"
            )
            records = [Record(row["source_file"], row["source_row"], row["proponente_id"], row["s"]) for row in held]
            assert compare(produced, records, _quarantined(lab, table)) == []
        _check_balance(lab)
        before = {table: table_rows(lab, f"SELECT * FROM {table}") for table in GOLD}
        assert lab.run(Wish(refresh_all=True)).status == "ok"
        for table in GOLD:
            assert close_rows(before[table], table_rows(lab, f"SELECT * FROM {table}")), table


def _quarantined(lab: Lab, table: str) -> Iterator[dict[str, object]]:
    if "ops.quarantine" in map(str, lab.tables()):
        yield from table_rows(
            lab,
            f"SELECT source_file, source_row, records FROM ops.quarantine WHERE target = '{table}' AND status = 'open'",
        )


def _check_balance(lab: Lab) -> None:
    """Every commit of every table: read = written + quarantined + superseded."""
    for name in lab.tables():
        for snapshot in lab.lake.history(lab.lake.require(name)):
            made = snapshot.provenance
            if made is not None and made.kind in ("append", "upsert", "replace"):
                assert made.read == made.written + made.quarantined + made.superseded, (name, made)
