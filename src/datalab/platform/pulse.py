"""What following processes tell of themselves: a file each in the project's state folder, gone when they end well."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from datalab.events import Bus
from datalab.names import TableName
from datalab.observability.histogram import Histogram
from datalab.observability.ingest_meter import AGE_BOUNDS, COMMIT_BOUNDS, IngestMeter, metrics_text
from datalab.observability.pages import served
from datalab.platform.services.processes import birth
from datalab.platform.settings import Configuration
from datalab.platform.state import state_folder

_BEAT = 1.0
_SILENT = 15.0  # seconds without a word after which a process elsewhere counts as gone
_FORGOTTEN = 60.0
_PAGE, _SPARE = 4096, 2048


@dataclass(frozen=True)
class Pulse:
    """What a process said last of its sources, and whether it still lives."""

    pid: int
    host: str
    told_at: datetime
    alive: bool
    sources: tuple[Mapping[str, Any], ...]


@contextmanager
def beating(
    configuration: Configuration, bus: Bus, feeds: Iterable[tuple[str, TableName]], port: int | None
) -> Iterator[None]:
    """While the block runs, this process tells how its sources are: in its file and, with a port, over HTTP."""
    meter = IngestMeter((name, str(table)) for name, table in feeds)
    folder = _folder(configuration)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, ended = folder / f"{uuid4().hex}.json", threading.Event()
    unsubscribe = bus.subscribe(meter)
    thread = threading.Thread(target=_beat, args=(path, meter, ended), name="pulse", daemon=True)
    thread.start()
    try:
        if port is None:
            yield
        else:
            with served(
                port, {"/metrics": lambda: (200, metrics_text(meter.records())), "/health": lambda: _page(meter)}
            ):
                yield
    finally:
        unsubscribe()
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)


def pulses(configuration: Configuration) -> tuple[Pulse, ...]:
    """All processes that follow sources of the project, and those that ended without a word."""
    return tuple(_read(_folder(configuration)).values())


def problems(found: Iterable[Pulse]) -> tuple[str, ...]:
    """What is not well, in words; empty where all is."""
    return tuple(words for pulse in found for words in _problems(pulse))


def _problems(pulse: Pulse) -> Iterator[str]:
    who, when = f"process {pulse.pid} on {pulse.host}", f"{pulse.told_at:%Y-%m-%d %H:%M:%S}"
    if not pulse.alive:
        yield f"{who} ended without a word after {when}"
    elif (datetime.now(UTC) - pulse.told_at).total_seconds() > _SILENT:
        yield f"{who} lives and has said nothing since {when}"
    for each in pulse.sources if pulse.alive else ():
        if each["paused"]:
            yield f"{each['source']} waits since {each['paused_at']}: {each['paused']}"


def status_rows(found: Iterable[Pulse]) -> list[dict[str, Any]]:
    """A row per process and source. Quantiles are of all since the process began, in seconds."""
    return [_row(pulse, each) for pulse in found for each in pulse.sources]


def _row(pulse: Pulse, each: Mapping[str, Any]) -> dict[str, Any]:
    ages = Histogram.from_json(AGE_BOUNDS, each["ages"])
    commits = Histogram.from_json(COMMIT_BOUNDS, each["commit_seconds"])
    state = "gone" if not pulse.alive else "waits" if each["paused"] else "follows"
    return {
        "source": each["source"],
        "table": each["table"],
        "pid": pulse.pid,
        "state": state,
        "lag": each["lag"],
        "records_per_second": each["rate"],
        "read": each["read"],
        "quarantined": each["quarantined"],
        "commits": each["commits"],
        "commit_p50": _rounded(commits.quantile(0.5)),
        "commit_p99": _rounded(commits.quantile(0.99)),
        "age_p50": _rounded(ages.quantile(0.5)),
        "age_p99": _rounded(ages.quantile(0.99)),
        "committed_at": datetime.fromisoformat(each["committed_at"]) if each["committed_at"] else None,
        "why": each["paused"],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _page(meter: IngestMeter) -> tuple[int, str]:
    waiting = [f"{each['source']} waits: {each['paused']}\n" for each in meter.records() if each["paused"]]
    return (503, "".join(waiting)) if waiting else (200, "well\n")


def _folder(configuration: Configuration) -> Path:
    return state_folder(configuration) / "ingest"


def _beat(path: Path, meter: IngestMeter, ended: threading.Event) -> None:
    me = {"pid": os.getpid(), "born": birth(os.getpid()), "host": socket.gethostname()}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while True:
            with suppress(OSError):
                said = {**me, "told_at": datetime.now(UTC).isoformat(), "sources": meter.records()}
                _write(descriptor, json.dumps(said).encode())
                _forget(path.parent)
            if ended.wait(_BEAT):
                return
    finally:
        os.close(descriptor)


def _write(descriptor: int, said: bytes) -> None:
    """In place and in one call, into room taken at the first time: a full disk, of all things, must not silence it."""
    room = -(-(len(said) + _SPARE) // _PAGE) * _PAGE
    os.pwrite(descriptor, said.ljust(room), 0)
    os.ftruncate(descriptor, room)


def _forget(folder: Path) -> None:
    """Remove what processes left that ended a while ago without a word: who beats now has taken their place."""
    now = datetime.now(UTC)
    for path, pulse in _read(folder).items():
        if not pulse.alive and (now - pulse.told_at).total_seconds() > _FORGOTTEN:
            path.unlink(missing_ok=True)


def _read(folder: Path) -> dict[Path, Pulse]:
    found = {}
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, KeyError):
            said = _said(path)
            told_at = datetime.fromisoformat(said["told_at"])
            found[path] = Pulse(said["pid"], said["host"], told_at, _lives(said, told_at), tuple(said["sources"]))
    return found


def _said(path: Path) -> Mapping[str, Any]:
    for _ in range(3):  # it may be written this very moment
        with suppress(ValueError):
            found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        time.sleep(0.02)
    raise ValueError(path.name)


def _lives(said: Mapping[str, Any], told_at: datetime) -> bool:
    if said["host"] == socket.gethostname():
        return bool(said["born"]) and birth(said["pid"]) == said["born"]
    return (datetime.now(UTC) - told_at).total_seconds() < _SILENT
