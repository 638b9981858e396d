"""The second run: no input changed. Its time, and what it opens: no data file may be needed."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.measure import Measured, measured, middle, typical
from benchmarks.report import Goal, Result, cost
from benchmarks.scratch import Scratch
from benchmarks.spine import once

MAX_SECONDS = 0.3
_OPENED = re.compile(r'open(?:at)?\(.*?"(?P<path>[^"]+)".*= \d+$')


def nothing_new(scratch: Scratch, table_format: str, rows: int, repeat: int) -> Result:
    """Timed as it is; then once under strace where that is there; then once with all data files taken away."""
    project = scratch.tables(table_format, rows)
    once(project, table_format)
    runs = [_run(project, table_format) for _ in range(max(repeat, 5))]
    opened = _opened(project, table_format)
    _without_data(project, table_format)
    work = typical(runs, "work")
    line = {**cost("DataLab, second run", middle(runs)), "work s": work}
    goals = [Goal("work after imports", work, MAX_SECONDS, "s"), Goal("data files opened", opened["data"], 0)]
    opens = [{"what": f"  files opened: {kind}", "count": count} for kind, count in sorted(opened.items())]
    gone = {"what": "  the same with all data files taken away: nothing to do"}
    return Result(f"nothing new, {rows:,} rows, {table_format}", [line, *opens, gone], goals)


def _run(project: Path, table_format: str) -> Measured:
    run = measured("nothing_new", project=project, table_format=table_format)
    _require_nothing_done(run)
    return run


def _opened(project: Path, table_format: str) -> Counter[str]:
    """Files below the lake that were opened, by kind, as the system saw it, or as Python did."""
    if shutil.which("strace") is None:
        answer = measured("nothing_new", project=project, table_format=table_format, watched=True).answer
        return Counter({"data": answer["opened_data"]})
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "calls"
        wrapped = ["strace", "--follow-forks", "--trace=open,openat", "--output", str(log), "--string-limit=4096"]
        measured("nothing_new", wrapped=wrapped, project=project, table_format=table_format)
        text = log.read_text(encoding="utf-8", errors="replace")
    found = Counter({"data": 0})
    for line in text.splitlines():
        match = _OPENED.search(line)
        if match and match["path"].startswith(str(project / "lake")) and "O_DIRECTORY" not in line:
            found[_kind(match["path"])] += 1
    return found


def _kind(path: str) -> str:
    if path.endswith(".parquet") and "/_delta_log/" not in path:
        return "data"
    return "catalog" if "/catalog.db" in path else "metadata"


def _without_data(project: Path, table_format: str) -> None:
    """The run must not notice that every data file is gone."""
    files = [path for path in (project / "lake").rglob("*.parquet") if "_delta_log" not in path.parts]
    away = {path: path.with_suffix(".away") for path in files}
    for path, hidden in away.items():
        path.rename(hidden)
    try:
        _run(project, table_format)
    finally:
        for path, hidden in away.items():
            hidden.rename(path)


def _require_nothing_done(run: Measured) -> None:
    if run.answer["status"] != "nothing_to_do":
        raise SystemExit(f"the second run was {run.answer['status']}, not nothing_to_do: {run.answer['steps']}")
