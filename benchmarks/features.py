"""Training sets at a point in time, and the online stores: rows a second in, milliseconds out."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.measure import Measured, measured, middle, typical
from benchmarks.report import Goal, Result, cost
from benchmarks.scratch import Scratch
from benchmarks.spine import once

BINDING_ROWS, LABELS, MAX_SECONDS = 10_000_000, 1_000_000, 60.0
STORED, MIN_SQLITE, MIN_REDIS = 300_000, 75_000, 50_000
PORT = 26379


def features(scratch: Scratch, table_format: str, rows: int, repeat: int) -> Result:
    """A tenth of the rows as labels, each with three views as they were at its moment."""
    project = scratch.tables(table_format, rows)
    once(project, table_format)
    labels = min(LABELS, rows // 10)
    runs = [
        measured("training_set", project=project, table_format=table_format, rows=rows, labels=labels)
        for _ in range(repeat)
    ]
    if len({run.answer["hash"] for run in runs}) != 1:
        raise SystemExit("the same training set had other bytes")
    work = typical(runs, "work")
    lines = [{**cost(f"{runs[0].answer['rows']:,} labels, three views", middle(runs)), "work s": work}]
    goals = [Goal("training set", work, MAX_SECONDS, "s")] if rows >= BINDING_ROWS else []
    return Result(f"features, {rows:,} rows, {table_format}", lines, goals)


def online(scratch: Scratch, repeat: int) -> Result:
    """Rows of eight features into SQLite and Redis, and five entities at a time out of them, also beside a writer."""
    folder = scratch.folder / "online"
    lines, goals = [], []
    for name, least in (("SQLite", MIN_SQLITE), ("Redis", MIN_REDIS)):
        runs: list[Measured] = []
        for _ in range(repeat):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with _redis(str(folder)) if name == "Redis" else _nothing() as url:
                if url is None:
                    break
                runs.append(measured("online", folder=folder, rows=STORED, redis=url))
        if not runs:
            print("  Redis is left out: apt-get install redis-server", flush=True)
            continue
        rate = STORED / typical(runs, "work")
        told = {key: typical(runs, key) for key in ("p50 ms", "p99 ms", "beside p99 ms")}
        lines.append({**cost(f"{STORED:,} rows into {name}, 5 entities out", middle(runs)), "rows/s": rate, **told})
        goals.append(Goal(f"rows into {name}", rate, least, "rows/s", at_least=True))
    shutil.rmtree(folder, ignore_errors=True)
    return Result("online stores", lines, goals)


@contextmanager
def _nothing() -> Iterator[str | None]:
    yield ""


@contextmanager
def _redis(folder: str) -> Iterator[str | None]:
    if shutil.which("redis-server") is None:
        yield None
        return
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(PORT), "--dir", folder, "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 1):
                break
        yield f"redis://127.0.0.1:{PORT}/0"
    finally:
        server.terminate()
        server.wait()
