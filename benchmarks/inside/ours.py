"""Our side of each benchmark, as a user's process does it, with the seconds that its work took."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.inside.bronze import change
from benchmarks.inside.project import BRONZE, SILVER, SOURCE, VIEWS, ensure, opened
from datalab.names import TableName
from datalab.pipelines.context import new_context
from datalab.pipelines.records import RunRecord
from datalab.platform.settings import load
from datalab.platform.simulate import Shares, simulate_project
from datalab.platform.wish import Wish

_LOADED_LATE = ("datalab.engine.duckdb", "datalab.lake.formats.iceberg", "datalab.lake.formats.delta")
CHANGED = 1_000
_LIBRARIES = ("duckdb", "pyarrow", "polars", "pyiceberg", "deltalake", "sqlglot")


def run(project: str, table_format: str) -> dict[str, Any]:
    """Every flow of the project, without ingest."""
    started = time.monotonic()
    with opened(project, table_format) as lab:
        record = lab.run(Wish(ingest=False))
    return {"work": time.monotonic() - started, **_told(record)}


def changes(project: str, table_format: str, rows: int, spread: str, rounds: int) -> dict[str, Any]:
    """Corrections of 1,000 requests and a run, so many times in one process; then each table of a round by itself.

    Answers the seconds and CPU seconds of each run, and of each step of the last round.
    """
    for module in _LOADED_LATE:
        import_module(module)
    tables = [SILVER, *VIEWS]
    every = Wish(tables=tuple(map(TableName.parse, tables)), ingest=False)
    whole = [_after_change(project, table_format, rows, spread, every) for _ in range(rounds)]
    first, *others = (Wish(tables=(TableName.parse(table),), ingest=False) for table in tables)
    alone = [_after_change(project, table_format, rows, spread, first)]
    alone += [_timed(project, table_format, wish) for wish in others]
    return {
        "whole": whole,
        "alone": dict(zip(tables, alone, strict=True)),
        "work": sum(run["seconds"] for run in whole),
    }


def _after_change(project: str, table_format: str, rows: int, spread: str, wish: Wish) -> dict[str, Any]:
    change(project, table_format, rows, CHANGED, spread)
    return _timed(project, table_format, wish)


def _timed(project: str, table_format: str, wish: Wish) -> dict[str, Any]:
    started, cpu = time.monotonic(), time.process_time()
    with opened(project, table_format) as lab:
        record = lab.run(wish)
    return {"seconds": time.monotonic() - started, "cpu": time.process_time() - cpu, **_told(record)}


def nothing_new(project: str, table_format: str, *, watched: bool = False) -> dict[str, Any]:
    """A whole run, ingest included, once everything is imported. `watched`: tell the files that Python opens."""
    for module in _LOADED_LATE:
        import_module(module)
    opens: list[str] = []
    if watched:
        sys.addaudithook(_noting(opens))
    started = time.monotonic()
    with opened(project, table_format) as lab:
        record = lab.run(Wish())
    seconds = time.monotonic() - started
    data = [path for path in opens if path.endswith(".parquet") and "_delta_log" not in path]
    return {"work": seconds, **_told(record), "opened": len(opens), "opened_data": len(data)}


def ingest(project: str, table_format: str) -> dict[str, Any]:
    """All waiting files of the one source into bronze, worker start included."""
    started = time.monotonic()
    with opened(project, table_format) as lab:
        record = lab.run(Wish(tables=(TableName.parse(BRONZE),)))
        seconds = time.monotonic() - started
        files = len(list((Path(project) / "landing" / SOURCE).iterdir()))
    return {"work": seconds, "files": files, **_told(record)}


def pending(project: str, table_format: str) -> dict[str, Any]:
    """What is new of the one source, in a lab just opened."""
    for module in _LOADED_LATE:
        import_module(module)
    with opened(project, table_format) as lab:
        started = time.monotonic()
        feed = next(feed for feed in lab.feeds if feed.name == SOURCE)
        read = feed.pending(new_context(lab.lake, lab.engine))
        return {"work": time.monotonic() - started, "new": read.new, "total": read.total}


def simulate(project: str, rows: int, files: int, bad: str = "0") -> dict[str, Any]:
    """Files of the project's own simulator in its landing folders."""
    configuration = load(ensure(Path(project)), environ={})
    shares = Shares.parse(bad=bad, late="2%", duplicates="1%")
    simulate_project(configuration, rows, shares, 42, {"files": files})
    paths = list((Path(project) / "landing" / SOURCE).iterdir())
    return {"files": len(paths), "bytes": sum(path.stat().st_size for path in paths)}


def versions() -> dict[str, Any]:
    """The libraries that were measured."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("datalab", *_LIBRARIES)}}


def _told(record: RunRecord) -> dict[str, Any]:
    failed = [result.error for result in record.results if result.error is not None]
    if failed:
        raise failed[0]
    steps = {
        str(result.step.target): {
            "seconds": result.seconds,
            "status": result.status,
            "kind": result.step.kind,
            "read": result.outcome.read,
            "written": result.outcome.written,
            "quarantined": result.outcome.quarantined,
        }
        for result in record.results
    }
    return {"status": record.status, "steps": steps}


def _noting(opens: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            opens.append(str(arguments[0]))

    return note
