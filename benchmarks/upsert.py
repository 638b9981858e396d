"""Ten thousand corrections merged into a large table, beside delta-rs and Spark; many small commits into one table."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Measured, measured, measured_spark
from benchmarks.peers import spark_jars, spark_python
from benchmarks.report import Goal, Result
from benchmarks.scratch import Scratch, reset

MAX_WARM, MAX_GROWTH, MAX_READ, MIN_SCATTERED, MIN_SPARK = 0.15, 2.0, 1.2, 2.0, 8.0
COMMITS, ROWS = 1_000, 100
_TURNS, _SPARK_TURNS = 5, 2
_GOAL_ROWS = 10_000_000
# Copy-on-write is what Iceberg does by itself; from our tables rows leave by position, merge-on-read.
_CONNECTORS = {"delta": "delta-spark", "iceberg": "iceberg-spark-runtime"}
_SPARK = {
    "delta": {"Spark, MERGE in Delta": {"format": "delta"}},
    "iceberg": {
        f"Spark, MERGE in Iceberg, {mode}": {"format": "iceberg", "merge_mode": mode}
        for mode in ("copy-on-write", "merge-on-read")
    },
}


def upsert(scratch: Scratch, table_format: str, rows: int, _repeat: int) -> Result:
    """The same batches into our table, and into one that delta-rs wrote; both in a process that stays."""
    project = scratch.tables(table_format, rows)
    reset(project)
    folder = project / "delta-rs"
    shutil.rmtree(folder, ignore_errors=True)
    place: dict[str, Any] = {"project": project, "table_format": table_format, "repeat": _TURNS}
    ours = measured("upserts", **place)
    peer = measured("delta_merges", **place, folder=folder)
    shutil.rmtree(folder)
    spark = _spark(place)
    reset(project)
    runs = {"DataLab": ours, "delta-rs merge": peer, **spark}
    lines = [line for spread in ("newest", "recent", "scattered") for line in _lines(spread, runs)]
    goals = [Goal("newest 10,000 keys, warm", ours.answer["newest"]["warm"], MAX_WARM, "s")]
    if rows >= _GOAL_ROWS:
        ratio = peer.answer["scattered"]["cpu"] / ours.answer["scattered"]["cpu"]
        goals.append(Goal("scattered: CPU of delta-rs / ours", ratio, MIN_SCATTERED, at_least=True))
    if rows >= _GOAL_ROWS:
        ratios = {name: run.answer["scattered"]["cpu"] / ours.answer["scattered"]["cpu"] for name, run in spark.items()}
        goals += [
            Goal(f"scattered: CPU of {name} / ours", ratio, MIN_SPARK, at_least=True) for name, ratio in ratios.items()
        ]
    return Result(f"upsert of 10,000 rows into {rows:,} ({ours.answer['files']} files), {table_format}", lines, goals)


def commits(scratch: Scratch, table_format: str) -> Result:
    """A thousand upserts of a hundred new rows."""
    project = scratch.folder / f"commits-{table_format}"
    shutil.rmtree(project, ignore_errors=True)
    run = measured("commits", project=project, table_format=table_format, count=COMMITS, rows=ROWS)
    shutil.rmtree(project)
    answer = run.answer
    grown = answer["last"] / answer["first"]
    seconds, cpu = (answer["read_after"][kind] / answer["read_whole"][kind] for kind in (0, 1))
    lines = [
        {"what": "the first 20, median", "work s": answer["first"], "cpu s": answer["first_cpu"]},
        {"what": "the last 20, median", "work s": answer["last"], "cpu s": answer["last_cpu"], "ratio": grown},
        _reading("a read of all", answer["read"]),
        {"what": "compaction", "work s": answer["compaction"]},
        {**_reading("a read of all then", answer["read_after"]), "ratio": seconds},
        {**_reading("a read of the same rows in one file", answer["read_whole"]), "peak MB": run.peak / 1e6},
    ]
    goals = [
        Goal("last commit / first", grown, MAX_GROWTH),
        Goal("last commit / first, CPU", answer["last_cpu"] / answer["first_cpu"], MAX_GROWTH),
        Goal("a read after compaction / of one file", seconds, MAX_READ),
        Goal("a read after compaction / of one file, CPU", cpu, MAX_READ),
    ]
    return Result(f"{COMMITS:,} commits of {ROWS} rows, {table_format}", lines, goals)


def _reading(what: str, took: tuple[float, float]) -> dict[str, Any]:
    return {"what": what, "work s": took[0], "cpu s": took[1]}


def _spark(place: dict[str, Any]) -> dict[str, Measured]:
    """Spark's MERGE of fewer batches, where it is installed; it writes its own table of the same rows and format."""
    python = spark_python(_CONNECTORS[place["table_format"]])
    if python is None:
        return {}
    given, folder = Path(place["project"]) / "for-spark", Path(place["project"]) / "spark"
    shutil.rmtree(given, ignore_errors=True)
    asked = measured("spark_merges", **{**place, "repeat": _SPARK_TURNS}, folder=given).answer
    found = {}
    for name, kind in _SPARK[place["table_format"]].items():
        shutil.rmtree(folder, ignore_errors=True)
        run = measured_spark(python, "merges", jars=spark_jars(), folder=folder, asked={**asked, **kind})
        found[name] = replace(run, answer={spread: _told(runs) for spread, runs in run.answer["runs"].items()})
        shutil.rmtree(folder)
    shutil.rmtree(given)
    return found


def _told(runs: list[tuple[float, float]]) -> dict[str, float]:
    warm = runs[1:] or runs
    return {"cold": runs[0][0], "warm": median(run[0] for run in warm), "cpu": median(run[1] for run in warm)}


def _lines(spread: str, runs: dict[str, Measured]) -> list[dict[str, Any]]:
    found, ours = [], runs["DataLab"].answer[spread]
    for name, run in runs.items():
        told = run.answer[spread]
        line = {"what": f"{spread}: {name}", "cold s": told["cold"], "warm s": told["warm"], "cpu s": told["cpu"]}
        found.append({**line, "cpu, ratio": told["cpu"] / ours["cpu"], "peak MB": run.peak / 1e6})
    return found
