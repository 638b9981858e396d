"""A thousand corrected requests through silver and the three gold views of a large table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Measured, measured
from benchmarks.report import Goal, Result, cost
from benchmarks.scratch import Scratch, reset
from benchmarks.spine import once

CHANGED = 1_000
MAX_ALL, MAX_FARMER = 2.5, 0.5  # seconds
USUAL = 2.4  # seconds of the peer on the machine that these goals were set for
BINDING_ROWS = 10_000_000
FARMER = "gold.proponente_features_agro"


def incremental(scratch: Scratch, table_format: str, rows: int, repeat: int) -> Result:
    """Corrections of recent requests, then of requests scattered over the whole table; plain DuckDB beside them."""
    project = scratch.tables(table_format, rows)
    lines = [cost(f"first run, {rows:,} rows", once(project, table_format))]
    peer = _peer(project, table_format)
    runs: dict[str, Measured] = {}
    for spread in ("recent", "scattered"):
        place = {"project": str(project), "table_format": table_format}
        runs[spread] = measured("changes", **place, rows=rows, spread=spread, rounds=max(repeat, 3))
        lines += _lines(spread, runs[spread])
    lines.append({"what": "three views anew, plain DuckDB", "work s": peer.answer["work"], "cpu s": peer.answer["cpu"]})
    goals = _goals(runs["recent"], float(peer.answer["work"])) if rows >= BINDING_ROWS else []
    reset(project)
    return Result(f"incremental, {rows:,} rows, {table_format}", lines, goals)


def _goals(recent: Measured, peer: float) -> list[Goal]:
    """In seconds, and in ratio to the peer of the same run: other machines, and busy ones, are slower at both."""
    whole, farmer = _middle(recent, "seconds"), float(recent.answer["alone"][FARMER]["seconds"])
    return [
        Goal("silver and three views", whole, MAX_ALL, "s"),
        Goal("silver and three views, ratio to the views anew", whole / peer, MAX_ALL / USUAL),
        Goal("the farmer's view by itself", farmer, MAX_FARMER, "s"),
        Goal("the farmer's view by itself, ratio to the views anew", farmer / peer, MAX_FARMER / USUAL),
    ]


def _lines(spread: str, run: Measured) -> list[dict[str, Any]]:
    whole = {
        "what": f"{CHANGED:,} {spread} corrections, silver and three views",
        "work s": _middle(run, "seconds"),
        "cpu s": _middle(run, "cpu"),
        "peak MB": run.peak / 1e6,
    }
    alone = [
        {"what": f"  {table} by itself ({_kind(table, each)})", "work s": each["seconds"], "cpu s": each["cpu"]}
        for table, each in run.answer["alone"].items()
    ]
    return [whole, *alone]


def _middle(run: Measured, name: str) -> float:
    return median(float(each[name]) for each in run.answer["whole"])


def _kind(table: str, run: dict[str, Any]) -> str:
    return str(run["steps"][table]["kind"])


def _peer(project: Path, table_format: str) -> Measured:
    asked, folder = project / "queries.json", project / "peer"
    answer = measured("silver_files", project=project, table_format=table_format).answer
    asked.write_text(json.dumps(answer), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    run = measured("recompute", queries=asked, folder=folder)
    shutil.rmtree(folder)
    asked.unlink()
    return run
