"""A thousand corrected requests through silver and the three gold views of a large table."""

from __future__ import annotations

from benchmarks.measure import Measured, measured, middle, typical
from benchmarks.report import Result, cost
from benchmarks.scratch import Scratch, reset
from benchmarks.spine import once

CHANGED = 1_000


def incremental(scratch: Scratch, table_format: str, rows: int, repeat: int) -> Result:
    """Corrections of recent requests, then of requests scattered over the whole table, beside the first run."""
    project = scratch.tables(table_format, rows)
    first = once(project, table_format)
    lines = [cost(f"first run, {rows:,} rows", first)]
    for spread in ("recent", "scattered"):
        runs: list[Measured] = []
        for _ in range(repeat):
            place = {"project": str(project), "table_format": table_format}
            measured("change", **place, rows=rows, count=CHANGED, spread=spread)
            runs.append(measured("run", **place))
        line = {**cost(f"{CHANGED:,} {spread} corrections", middle(runs)), "work s": typical(runs, "work")}
        lines.append({**line, "of first run": typical(runs, "work") / first.answer["work"]})
        lines.extend(_steps(middle(runs)))
    reset(project)
    return Result(f"incremental, {rows:,} rows, {table_format}", lines)


def _steps(run: Measured) -> list[dict[str, object]]:
    done = {name: step for name, step in run.answer["steps"].items() if step["status"] == "ok"}
    return [{"what": f"  of it {name} ({step['kind']})", "work s": step["seconds"]} for name, step in done.items()]
