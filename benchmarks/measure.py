"""Runs one job of `benchmarks.inside` in a process of its own and measures the whole tree of processes it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Measured:
    """What one process tree took: wall and CPU seconds, bytes of memory, and what the job answered.

    `peak` is the largest process at its highest; `peak_all` adds up the highest of every process of the tree.
    """

    seconds: float
    cpu: float
    peak: int
    peak_all: int
    answer: Mapping[str, Any]


def measured(job: str, *, wrapped: Iterable[str] = (), **arguments: Any) -> Measured:
    """Run a job; SystemExit with its last words where it fails. `wrapped` is a command to run it under."""
    command = [*wrapped, sys.executable, "-m", "benchmarks.inside", job, json.dumps(arguments, default=str)]
    return _run(job, command)


def measured_spark(python: Path, work: str, **arguments: Any) -> Measured:
    """Run work of `benchmarks/peers/pyspark.py` with the interpreter that has Spark."""
    script = str(ROOT / "benchmarks" / "peers" / "pyspark.py")
    return _run(f"Spark {work}", [str(python), "-P", script, work, json.dumps(arguments, default=str)])


def _run(job: str, command: list[str]) -> Measured:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=_environ(), stdout=out, stderr=err)
        peaks: dict[int, tuple[bytes, int]] = {}
        status, usage = _awaited(process, peaks)
        seconds = time.monotonic() - started
        if status:
            raise SystemExit(f"benchmark job {job} failed with {status}:\n{_text(err)[-4000:]}")
        answer = json.loads(_text(out).splitlines()[-1])
    highest = [peak for _, peak in peaks.values()]
    largest = max([usage.ru_maxrss * 1024, *highest])
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(seconds, cpu, largest, max(largest, sum(highest)), answer)


def middle(runs: list[Measured]) -> Measured:
    """The run of the median wall time; of an even number the faster one of the two in the middle."""
    return sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]


def typical(runs: list[Measured], key: str) -> float:
    """The median of one number that the jobs answered."""
    return median(float(run.answer[key]) for run in runs)


def _environ() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DATALAB")}
    return {**ours, "PYTHONPATH": str(ROOT / "src")}


def _awaited(process: subprocess.Popen[bytes], peaks: dict[int, tuple[bytes, int]]) -> tuple[int, Any]:
    """The process's end. Until a new one runs its own program, its memory is that of who starts it: it counts anew."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage
        for member in _tree(process.pid):
            (known, peak), program = peaks.get(member, (b"", 0)), _program(member)
            peaks[member] = program or known, max(peak if program in (known, b"") else 0, _high_water(member))
        time.sleep(_POLL_SECONDS)


def _tree(pid: int) -> list[int]:
    """A process and all below it, as far as the system tells (Linux)."""
    found = [pid]
    for member in found:
        with suppress(OSError):  # it may have ended by now
            for children in Path(f"/proc/{member}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
    return found


def _program(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _high_water(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
