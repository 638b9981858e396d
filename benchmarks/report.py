"""What was measured, as tables for people and as plain values for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Measured, measured


@dataclass(frozen=True)
class Goal:
    """One promise: a number that was measured, and the bound it must keep."""

    what: str
    value: float
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def kept(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        mark = "ok  " if self.kept else "MISS"
        bound = f"(goal {sign} {round(self.bound, 2):,g})"
        return f"{mark}  {self.what}: {self.value:,.2f} {self.unit}".rstrip() + f" {bound}"


@dataclass(frozen=True)
class Result:
    """One benchmark at one size: rows of a table, and the goals it speaks of."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    goals: Sequence[Goal] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        goals = [{**vars(goal), "kept": goal.kept} for goal in self.goals]
        return {"title": self.title, "rows": list(self.rows), "goals": goals}


def show(result: Result) -> None:
    """Print a result as a table, then its goals."""
    print(f"\n{result.title}")
    names = list(dict.fromkeys(name for row in result.rows for name in row))
    cells = [names, *([_shown(row.get(name)) for name in names] for row in result.rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(names))]
    for line in cells:
        aligned = (
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  " + "  ".join(aligned).rstrip())
    for goal in result.goals:
        print(f"  {goal}")


def cost(name: str, run: Measured) -> dict[str, Any]:
    """The columns that every process has: work after imports, the whole process, CPU and memory."""
    return {
        "what": name,
        "work s": float(run.answer.get("work", run.seconds)),
        "process s": run.seconds,
        "cpu s": run.cpu,
        "peak MB": run.peak / 1e6,
        "all MB": run.peak_all / 1e6,
    }


def machine() -> dict[str, Any]:
    """Where and with what was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory GB": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load before": round(os.getloadavg()[0], 2),
        **measured("versions").answer,
    }


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
