"""The idempotency keys of all processes that have a log in one folder: a file that each adds to, and reads on in.

It only tells the living of each other. What was stored is told by the journals alone, so nothing of it is forced to
disk, and a key that is told here and stands in no journal was never taken.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datalab.ingest.push.journal import Entry
from datalab.lake.local import taken

NAME = ".keys"
_FULL = 32 << 20
_PATIENCE, _PAUSE = 5.0, 0.002


@dataclass(frozen=True)
class Told:
    """A request that another process is about to store."""

    entry: Entry
    at: float


@dataclass(frozen=True)
class Safe:
    """The first bytes of another process's file are on disk."""

    file: str
    size: int


@dataclass(frozen=True)
class Missed:
    """More was told than can still be read: the journals have to be read again."""


News = Told | Safe | Missed


class Keys:
    """What processes tell each other. `alone` must be held for everything else; it goes with its process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._folder = os.open(folder, os.O_RDONLY)
        self._file: int | None = None
        self._at = self._generation = 0
        self._torn = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block in which no other process tells anything. TimeoutError where one stands still in such a block."""
        if not taken(self._folder, _PATIENCE, _PAUSE):
            raise TimeoutError(f"another process holds {self._path.parent} for too long")
        try:
            yield
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    def news(self) -> Iterator[News]:
        """What others have told since the last time; at first, all that is there."""
        status = os.fstat(self._file) if self._file is not None else None
        if self._file is not None and status is not None and status.st_size > self._at:
            yield from self._read_on(self._file)
        if status is None or not status.st_nlink:  # another file has taken its place
            before = self._generation
            file = self._opened()
            self._generation = _generation(self._read_line(file))
            if before and self._generation != before + 1:
                yield Missed()
            yield from self._read_on(file)

    def tell(self, news: Told | Safe) -> None:
        """Tell all others, whose news have been read before."""
        assert self._file is not None
        if self._at > _FULL:
            self._renewed()
        line = (b"\n" if self._torn else b"") + _line(news)  # who was killed while telling has left half a line
        _write_all(self._file, line, self._at)
        self._at, self._torn = self._at + len(line), False

    def close(self) -> None:
        """Tell and hear nothing more."""
        for descriptor in (self._folder, self._file):
            if descriptor is not None:
                os.close(descriptor)
        self._file = None

    def _opened(self) -> int:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        if self._file is not None:
            os.close(self._file)
        self._file, self._at, self._torn = file, 0, False
        if os.fstat(file).st_size == 0:
            _write_all(file, _header(self._generation + 1), 0)
        return file

    def _renewed(self) -> None:
        """A new file in the place of a full one; who has not read that to its end still has it open."""
        fresh = self._path.with_name(f"{NAME}.new")
        fresh.touch(0o600)
        fresh.write_bytes(_header(self._generation + 1))
        fresh.rename(self._path)
        file = self._opened()
        self._generation = _generation(self._read_line(file))

    def _read_line(self, file: int) -> bytes:
        line = os.pread(file, 100, 0).partition(b"\n")[0]
        self._at = len(line) + 1
        return line

    def _read_on(self, file: int) -> Iterator[News]:
        parts = []
        while part := os.pread(file, 1 << 20, self._at):
            parts.append(part)
            self._at += len(part)
        text = b"".join(parts)
        self._torn = not text.endswith(b"\n") if text else self._torn
        for line in text.splitlines():
            yield from _parsed(line)


def _line(news: Told | Safe) -> bytes:
    record = {"entry": vars(news.entry), "at": news.at} if isinstance(news, Told) else vars(news)
    return (json.dumps(record) + "\n").encode()


def _header(generation: int) -> bytes:
    return (json.dumps({"generation": generation}) + "\n").encode()


def _generation(line: bytes) -> int:
    try:
        return int(json.loads(line)["generation"])
    except (ValueError, KeyError, TypeError):
        return 0


def _parsed(line: bytes) -> Iterator[News]:
    """One piece of news; none for what a crash of the machine left of a line."""
    try:
        record: dict[str, Any] = json.loads(line)
        yield Told(**{**record, "entry": Entry(**record["entry"])}) if "entry" in record else Safe(**record)
    except (ValueError, TypeError):
        return


def _write_all(descriptor: int, line: bytes, before: int) -> None:
    """All of it at the end, or nothing."""
    try:
        if os.write(descriptor, line) == len(line):
            return
    except OSError:
        os.ftruncate(descriptor, before)
        raise
    os.ftruncate(descriptor, before)
    raise OSError(errno.ENOSPC, "no room for a line", NAME)
