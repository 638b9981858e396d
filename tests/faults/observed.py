"""Operations in a process of their own that strace watches, and lets fail or kills at a system call."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest

CHANGES = (
    "write,pwrite64,writev,pwritev,pwritev2,?rename,renameat,renameat2,?unlink,unlinkat,?link,linkat,?mkdir,mkdirat,"
    "?rmdir,fsync,fdatasync,ftruncate,copy_file_range,sendfile"
)
CALL = re.compile(r"(\d+) +(\w+)\((.*)")
NEVER = 65_000
PATIENCE = 60  # seconds; a process that does not end is killed
Point = tuple[str, int]


def _may_trace() -> bool:
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-f", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False)
    return tried.returncode == 0


needs_strace = pytest.mark.skipif(
    not _may_trace(), reason="NOT TESTED: faults at system calls need strace, and may use it"
)


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th call of a kind in a thread; `happens` is strace's word for it."""

    point: Point = ("fsync", NEVER)
    happens: str = "signal=KILL"
    calls: str = CHANGES


@dataclass(frozen=True)
class Outcome:
    """Whether an operation said that it was done, what it was refused before that, and how its process ended."""

    done: bool
    refused: tuple[str, ...]
    ended: str


class Zygote:
    """Starts an operation that strace watches; see zygote.py."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def perform(self, operation: str, place: tuple[str, Path], fault: Fault, log: Path) -> Outcome:
        """Do an operation in a format and warehouse, with this fault; the calls are listed in `log`."""
        self._say("\t".join([operation, place[0], str(place[1])]))
        child = int(self._hear())
        name, number = fault.point
        injected = f"inject={name}:{fault.happens}:when={number}"
        command = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={fault.calls}", "-e", injected]
        with subprocess.Popen([*command, "-p", str(child)], stderr=subprocess.PIPE, text=True) as observer:
            assert observer.stderr is not None
            assert "attached" in observer.stderr.readline()
            os.kill(child, signal.SIGCONT)
            limit = Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
            limit.start()
            *answers, ended = self._answers()
            limit.cancel()
            observer.communicate(timeout=60)
        return Outcome("done" in answers, tuple(each for each in answers if each != "done"), ended)

    def _answers(self) -> Iterator[str]:
        while True:
            line = self._hear()
            yield line
            if line.startswith(("exit ", "killed by ")):
                return

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that operations start from has ended"
        return line.strip()


def points(log: Path, about: str = "") -> list[Point]:
    """The calls of a log that are about a path, each with its number among its kind in one thread."""
    counts: dict[tuple[str, str], int] = {}
    found: dict[Point, None] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        thread, name, arguments = call.groups()
        counts[thread, name] = number = counts.get((thread, name), 0) + 1
        if about in arguments:
            found[name, number] = None
    return sorted(found)


def injected(log: Path) -> Sequence[str]:
    """The calls that did fail on purpose, with their arguments."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if "(INJECTED)" in line]
