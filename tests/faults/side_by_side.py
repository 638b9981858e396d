"""Processes that write, merge, forget and read one table at the same time; each keeps a ledger of what it was told."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import parse_one
from tests.faults.operations import PARTS, TABLE, Place, contas, stage

from datalab.engine.base import Append, Mode, Query, Upsert
from datalab.errors import Fenced
from datalab.lake.maintenance.compact import compact
from datalab.lake.maintenance.expire import expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.maintenance.vacuum import vacuum
from datalab.lake.provenance import Provenance, Range
from datalab.lake.table import TableState
from datalab.quality.publish import discarded_on_failure

READERS = timedelta(seconds=8)
GOALS = Goals(keep=3, keep_for=timedelta(0), readers=READERS, orphans=timedelta(seconds=60))
PAUSE = 0.1
ENOUGH, PATIENCE = 3, 60
SHARED = 20  # accounts that all upserts touch
QUESTION = """
SELECT CASE WHEN conta > 1000000 THEN conta div 1000000 ELSE 0 END AS autor, count(*) AS linhas,
  count(DISTINCT conta) AS contas, max(conta) AS ultima, min(versao) AS de, max(versao) AS ate
FROM t GROUP BY 1
"""


def begin(place: Place, state: TableState) -> None:
    """The shared accounts among others in one file, so that upserts mark rows in it where the format can."""
    rows = pa.concat_tables([contas(1, SHARED, 1), contas(99_000_001, 99_000_400, 1)])
    place.lake.commit(state, stage(place, state, rows, Append()).change(Provenance("r", "begin", "append")))


def appends(table_format: str, warehouse: str, seconds: float, ledger: Path, number: int) -> None:
    """New accounts of this writer's own, in order; each commit says up to which it came."""
    _write(table_format, warehouse, seconds, ledger, number, Append())


def upserts(table_format: str, warehouse: str, seconds: float, ledger: Path, number: int) -> None:
    """The shared accounts, all of them in each commit, in ever higher versions."""
    _write(table_format, warehouse, seconds, ledger, number, Upsert(("conta", "parte"), "__sequence"))


def _write(table_format: str, warehouse: str, seconds: float, ledger: Path, number: int, mode: Mode) -> None:
    place, flow, end = Place.open(table_format, Path(warehouse)), f"f{number}", time.monotonic() + seconds
    told: list[dict[str, Any]] = []
    while _goes_on(end, sum("landed" in entry for entry in told) >= ENOUGH):
        state = place.lake.require(TABLE)
        position = state.positions.get(flow)
        done = position.inputs["bronze.fonte"] if position else 0
        unit = done + 1
        first = number * 1_000_000 + unit
        rows = contas(first, first, 1) if isinstance(mode, Append) else contas(1, SHARED, unit * 10 + number)
        staged = stage(place, state, rows, mode)
        provenance = Provenance("r", flow, "upsert", inputs={"bronze.fonte": Range(done, unit)}, written=rows.num_rows)
        try:
            with discarded_on_failure(place.engine, staged):
                place.lake.commit(state, staged.change(provenance))
            told.append({"landed": unit})
            time.sleep(PAUSE)
        except Fenced:
            told.append({"fenced": unit})
            time.sleep(random.uniform(0, PAUSE / 2))
    place.engine.close()
    ledger.write_text(json.dumps(told), encoding="utf-8")


def _goes_on(end: float, enough: bool) -> bool:
    """Until the time is over and enough was done; on a slow machine that takes longer, but not for ever."""
    now = time.monotonic()
    return now < end or (not enough and now < end + PATIENCE)


def maintains(table_format: str, warehouse: str, seconds: float, ledger: Path, number: int) -> None:
    """Merges, forgets and removes orphans, over and over."""
    place, end = Place.open(table_format, Path(warehouse)), time.monotonic() + seconds
    told: list[dict[str, Any]] = []
    while _goes_on(end, any(entry["merged"] for entry in told)):
        merged = compact(place.lake, TABLE, GOALS, place.engine.rewrite, "m", lambda *_: None)
        gone = expire(place.lake, TABLE, (), GOALS, datetime.now(UTC))
        swept = vacuum(place.lake, TABLE, GOALS.orphans, datetime.now(UTC))
        told.append({"merged": len(merged.removed), "expired": len(gone.expired), "orphans": len(swept.files)})
        time.sleep(0.3)
    place.engine.close()
    ledger.write_text(json.dumps(told), encoding="utf-8")


def reads(table_format: str, warehouse: str, seconds: float, ledger: Path, number: int) -> None:
    """One snapshot at a time: whole commits only, and never an older one than before."""
    place, end = Place.open(table_format, Path(warehouse)), time.monotonic() + seconds
    told: list[dict[str, Any]] = []
    seen: dict[int, int] = {}
    tree: Any = parse_one(QUESTION, read="spark")
    while _goes_on(end, len({entry["snapshot"] for entry in told}) >= ENOUGH):
        state = place.lake.require(TABLE)
        query = Query(tree, {"t": place.lake.files(state)}, datetime.now(UTC))
        for row in place.engine.read(query).read_all().to_pylist():
            assert row["linhas"] == row["contas"] * PARTS, row
            progress = row["ultima"] % 1_000_000 if row["autor"] else row["ate"]
            if row["autor"]:
                assert row["contas"] == progress, row
            else:
                assert (row["contas"], row["de"]) == (SHARED, row["ate"]), row
            assert progress >= seen.get(row["autor"], 0), row
            seen[row["autor"]] = progress
        told.append({"snapshot": state.snapshot})
    place.engine.close()
    ledger.write_text(json.dumps(told), encoding="utf-8")


def together(works: list[Callable[..., None]], arguments: tuple[Any, ...], folder: Path, patience: float) -> list[Any]:
    """Run each work in a process of its own; answers their ledgers. AssertionError where one ended badly."""
    context = multiprocessing.get_context("spawn")
    ledgers = [folder / f"{number}.json" for number in range(len(works))]
    processes = [
        context.Process(target=work, args=(*arguments, ledger, number))
        for number, (work, ledger) in enumerate(zip(works, ledgers, strict=True), 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(patience)
        if process.is_alive():
            process.kill()
    assert [process.exitcode for process in processes] == [0] * len(works)
    return [json.loads(ledger.read_text(encoding="utf-8")) for ledger in ledgers]
