"""Reads the local log: whole lines from where the lake stands, file by file, oldest first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datalab.serving.log import SUFFIX


@dataclass(frozen=True)
class Place:
    """How far a file was taken: whole lines and their bytes."""

    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one file. `after` is where the file stands once they are taken."""

    file: str
    first_row: int
    lines: tuple[bytes, ...]
    after: Place


def log_files(folder: Path) -> list[Path]:
    """The files of a log, the oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


def read_chunk(path: Path, place: Place, most_bytes: int) -> Chunk:
    """Whole lines behind a place, about `most_bytes` of them; none where there are none. FileNotFoundError."""
    with path.open("rb") as file:
        file.seek(place.bytes)
        data = file.read(most_bytes)
        if data and not data.endswith(b"\n"):
            data += file.readline()  # finishes the line that the limit cut; what the writer has not finished goes
    whole = data[: data.rfind(b"\n") + 1]
    lines = tuple(whole.split(b"\n")[:-1])
    return Chunk(path.name, place.rows, lines, Place(place.rows + len(lines), place.bytes + len(whole)))


def remove_taken(folder: Path, places: Mapping[str, Place]) -> None:
    """Remove files that nobody writes any more and that were taken whole.

    The lock is held while size and place are compared: a file that is locked by us has no writer, and never gets one.
    """
    for path in log_files(folder):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _untaken(path, places.get(path.name, Place())):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(file)


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of each file of a log, by name."""
    found = {}
    for path in log_files(folder):
        with suppress(FileNotFoundError):
            found[path.name] = path.stat().st_size
    return found


def backlog(folder: Path) -> int:
    """Bytes in the folder: an upper bound of what is not in the lake yet."""
    return sum(sizes(folder).values())


def _untaken(path: Path, place: Place) -> bool:
    """Whether there is a whole line behind the place; a torn one was never answered."""
    return bool(read_chunk(path, place, 1 << 16).lines)
