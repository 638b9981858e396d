"""A row of gold traced down to its files and rows, and a record traced back up, beside the same look-ups by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.measure import Measured, measured, middle, typical
from benchmarks.report import Goal, Result, cost
from benchmarks.scratch import Scratch, reset
from benchmarks.spine import once

FARMER, PLACE = "gold.proponente_features_agro", "gold.location_features_agro"
MAX_SECONDS = 1.0
ROUNDS = 5


def trace(scratch: Scratch, table_format: str, rows: int, repeat: int) -> Result:
    """A farmer, whose key is spread over the whole table, and a municipality, a 64th of it; other ones each round."""
    project = scratch.tables(table_format, rows)
    once(project, table_format)
    place: dict[str, Any] = {"project": project, "table_format": table_format}
    ours: dict[str, list[Measured]] = {"farmer": [], "municipality": [], "record, back": []}
    peers: dict[str, list[Measured]] = {"farmer": [], "municipality": []}
    for number in range(max(repeat, ROUNDS)):
        asked = measured("trace_chosen", **place, number=number).answer
        for what, table, keys in (("farmer", FARMER, asked["farmer"]), ("municipality", PLACE, asked["place"])):
            peers[what].append(measured("trace_by_hand", files=asked["files"], table=table, keys=keys))
            ours[what].append(measured("trace", **place, table=table, keys=keys))
            _require_same(ours[what][-1].answer, peers[what][-1].answer)
        ours["record, back"].append(measured("trace_back", **place, record=asked["record"]))
    reset(project)
    return _result(f"trace, {rows:,} rows, {table_format}", ours, peers)


def _result(title: str, ours: Mapping[str, list[Measured]], peers: Mapping[str, list[Measured]]) -> Result:
    lines: list[dict[str, Any]] = []
    for what, runs in ours.items():
        if what in peers:
            lines.append(_line(f"{what}, by hand", peers[what]))
        line = _line(what, runs)
        lines.append({**line, "ratio": line["work s"] / lines[-1]["work s"]} if what in peers else line)
    goals = [Goal(f"seconds of work, {what}", typical(runs, "work"), MAX_SECONDS, "s") for what, runs in ours.items()]
    return Result(title, lines, goals)


def _line(what: str, runs: list[Measured]) -> dict[str, Any]:
    return {**cost(what, middle(runs)), "work s": typical(runs, "work"), "work cpu s": typical(runs, "work_cpu")}


def _require_same(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> None:
    """The same rows of silver; every record that a hand finds for at most ten of them."""
    if ours["silver"] != peer["silver"] or (ours["silver"] <= 10 and ours["records"] != peer["records"]):
        raise SystemExit(f"a trace and the look-ups by hand differ: {ours} and {peer}")
