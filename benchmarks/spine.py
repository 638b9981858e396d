"""Bronze to silver to the gold views, against the same SQL in plain DuckDB, Parquet to Parquet, side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.measure import Measured, measured, measured_spark, middle, typical
from benchmarks.peers import spark_jars, spark_python
from benchmarks.report import Goal, Result, cost
from benchmarks.scratch import Scratch, reset

VARIANTS = {
    "window": "DuckDB, newest row by window",
    "arg_max": "DuckDB, newest row by arg_max",
    "repeated": "DuckDB, only repeated keys compared",
    "split": "DuckDB, the same in one pass",
}
SILVER = "silver.silver_dados_produtores_agro"
MAX_RATIO, MAX_PEAK_GB, MIN_SPARK = 1.5, 3.0, 5.0
BINDING_ROWS = 10_000_000


def spine(scratch: Scratch, table_format: str, rows: int, repeat: int) -> Result:
    """Rounds of every peer and of ours in turn; the goal is the ratio to the fastest peer."""
    project = scratch.tables(table_format, rows)
    asked = _questions(project, table_format)
    peers: dict[str, list[Measured]] = {variant: [] for variant in VARIANTS}
    ours: list[Measured] = []
    for _ in range(repeat):
        for variant, runs in peers.items():
            runs.append(_peer(project, asked, variant))
        ours.append(once(project, table_format))
        for runs in peers.values():
            _require_same(ours[-1], runs[-1])
    asked.unlink()
    spark = _spark(project, table_format)
    return _result(f"spine, {rows:,} rows, {table_format}", peers, (ours, spark), rows)


def once(project: Path, table_format: str) -> Measured:
    """Our run from bronze alone."""
    reset(project)
    return measured("run", project=project, table_format=table_format)


def _spark(project: Path, table_format: str) -> Measured | None:
    """Spark and Delta once, where they are installed: it takes minutes."""
    python = spark_python()
    if python is None:
        return None
    reset(project)
    asked = measured("spark_queries", project=project, table_format=table_format).answer
    folder = project / "spark"
    shutil.rmtree(folder, ignore_errors=True)
    run = measured_spark(python, "medallion", jars=spark_jars(), folder=folder, asked=asked)
    shutil.rmtree(folder)
    return run


def _result(
    title: str, peers: dict[str, list[Measured]], measured_here: tuple[list[Measured], Measured | None], rows: int
) -> Result:
    ours, spark = measured_here
    done = {variant: runs for variant, runs in peers.items() if not any("failed" in run.answer for run in runs)}
    fastest = min(done, key=lambda variant: _work(done[variant]))
    base, work = _work(peers[fastest]), _work(ours)
    cpu = middle(ours).cpu / middle(peers[fastest]).cpu
    lines = [_peer_line(variant, runs, base) for variant, runs in peers.items()]
    lines.append({**cost("DataLab", middle(ours)), "work s": work, "ratio": work / base, "cpu ratio": cpu})
    process = middle(ours).seconds / middle(peers[fastest]).seconds
    peak = max(run.peak for run in ours) / 1e9
    goals = [Goal("memory", peak, MAX_PEAK_GB, "GB")]
    if rows >= BINDING_ROWS:
        goals.append(Goal("ratio of work to the fastest peer", work / base, MAX_RATIO))
        goals.append(Goal("ratio of whole processes", process, MAX_RATIO))
    if spark is not None:
        whole = spark.answer["start"] + spark.answer["work"]
        line = cost(f"Spark 4.1 and Delta, {spark.answer['start']:.0f} s of it its start", spark)
        lines.append({**line, "work s": whole, "ratio": whole / base})
        if rows >= BINDING_ROWS:
            goals.append(Goal("Spark's time to ours", whole / work, MIN_SPARK, at_least=True))
    return Result(title, [*lines, *_steps(middle(ours))], goals)


def _peer_line(variant: str, runs: list[Measured], base: float) -> dict[str, object]:
    failed = next((run.answer["failed"] for run in runs if "failed" in run.answer), None)
    told = {"ratio": failed} if failed else {"ratio": _work(runs) / base, "silver s": middle(runs).answer["silver"]}
    return {**cost(VARIANTS[variant], middle(runs)), "work s": _work(runs), **told}


def _steps(run: Measured) -> list[dict[str, object]]:
    done = {name: step for name, step in run.answer["steps"].items() if step["status"] == "ok"}
    return [{"what": f"  of it {name} ({step['kind']})", "work s": step["seconds"]} for name, step in done.items()]


def _work(runs: list[Measured]) -> float:
    return typical(runs, "work")


def _questions(project: Path, table_format: str) -> Path:
    reset(project)
    path = project / "queries.json"
    answer = measured("peer_queries", project=project, table_format=table_format).answer
    path.write_text(json.dumps(answer), encoding="utf-8")
    return path


def _peer(project: Path, asked: Path, variant: str) -> Measured:
    folder = project / "peer"
    shutil.rmtree(folder, ignore_errors=True)
    run = measured("peer", queries=asked, folder=folder, variant=variant)
    shutil.rmtree(folder)
    return run


def _require_same(ours: Measured, peer: Measured) -> None:
    if "failed" in peer.answer:
        return
    written = {name.partition(".")[2]: step["written"] for name, step in ours.answer["steps"].items()}
    for name, count in peer.answer["rows"].items():
        mine = written[SILVER.partition(".")[2] if name == "silver" else name]
        if mine != count:
            raise SystemExit(f"{name}: {mine:,} rows of ours, {count:,} of the peer: the two do not do the same work")
