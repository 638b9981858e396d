"""A server's process: started apart from this one, known by its id and its moment of birth, ended by that id alone."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATE = "process.json"
_LOG = "service.log"
_PAUSE = 0.05


@dataclass(frozen=True)
class Process:
    """A process that was started; `born` tells it from a later one that got the same id."""

    pid: int
    born: str
    started_at: str

    def alive(self) -> bool:
        """Whether it still runs."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # where it is a child of this very process, its end must be taken note of
        return birth(self.pid) == self.born

    def memory(self) -> int:
        """Bytes in memory; 0 where that cannot be told."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)


def birth(pid: int) -> str:
    """When a process began, in the system's own words; empty where there is none."""
    if not Path("/proc/self/stat").exists():
        answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return answer.stdout.strip()
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    threads, began = int(fields[16]), fields[18]
    # The first thread of a killed process may be gone while others still hold its ports.
    return "" if state == "Z" and threads <= 1 else began


def start(command: Sequence[str], environment: Mapping[str, str], folder: Path, now: str) -> Process:
    """Start a command in a session of its own, what it prints going to the folder's log. It outlives this process."""
    log = folder / _LOG
    if log.exists():
        log.replace(folder / f"{_LOG}.1")
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawnp(command[0], list(command), environment, file_actions=actions, setsid=True)
    process = Process(pid, birth(pid), now)
    text = json.dumps({**vars(process), "command": command[0]})
    with open(folder / _STATE, "w", encoding="utf-8", opener=_private) as file:
        file.write(text)
    return process


def present(folder: Path) -> Process | None:
    """The process that was started last in this folder, if it still runs."""
    try:
        found = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        process = Process(found["pid"], found["born"], found["started_at"])
    except (OSError, ValueError, KeyError):
        return None
    return process if process.born and process.alive() else None


def is_noted(folder: Path) -> bool:
    """Whether a process was started in this folder and not ended by a command, be it alive or not."""
    return (folder / _STATE).exists()


def forget(folder: Path) -> None:
    """Take the process for ended on purpose."""
    (folder / _STATE).unlink(missing_ok=True)


def end(process: Process, seconds: float) -> bool:
    """Ask the process to end, and end it after so many seconds; whether it went by itself."""
    if not process.alive():
        return True
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not process.alive():
            return True
        time.sleep(_PAUSE)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    while process.alive():
        time.sleep(_PAUSE)
    return False


def last_lines(folder: Path, count: int) -> list[str]:
    """The last lines of the log."""
    try:
        text = (folder / _LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-count:] if count else []


def log_path(folder: Path) -> Path:
    """The file that the server's words go to."""
    return folder / _LOG


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One command at a time starts or stops a server."""
    with open(folder / "lock", "w", encoding="utf-8", opener=_private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
