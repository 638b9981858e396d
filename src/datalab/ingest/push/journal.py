"""One file of pushed records that is still being written, and the journal of the requests in it.

A request counts when its line of the journal is whole and the bytes that it names are there. Both are forced to disk
before the request is acknowledged, so what was acknowledged counts after any crash, and what was torn does not.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datalab.lake.local import sync

OPEN, JOURNAL = ".part", ".journal"


@dataclass(frozen=True)
class Entry:
    """A request: its idempotency key, its bytes in the file, its records, and the digest of the bytes."""

    key: str
    file: str
    offset: int
    size: int
    row: int
    rows: int
    digest: str


def digest_of(body: bytes) -> str:
    """What tells one body from another."""
    return hashlib.sha256(body).hexdigest()


def journal_of(path: Path) -> Path:
    """The journal beside a file; its name is hidden, so that no source takes it for records."""
    return path.with_name(f".{path.name}{JOURNAL}")


@dataclass
class _Mark:
    """How far a file, its journal and its records go."""

    data: int = 0
    journal: int = 0
    rows: int = 0
    requests: int = 0


class Segment:
    """A file under its temporary name, locked by the process that writes it. Not thread-safe by itself."""

    def __init__(self, path: Path, now: float) -> None:
        self.path = path
        self.opened = now
        self.syncing = False
        self.spoilt = False  # a request that others know of could not be written
        self.keyed = self.told = 0  # how far requests with a key go, and how far others know what is on disk
        self.written, self.durable = _Mark(), _Mark()
        self.failure: OSError | None = None
        self._data = _locked(path.with_name(f"{path.name}{OPEN}"))
        self._journal = os.open(journal_of(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def entry(self, key: str, body: bytes, rows: int) -> Entry:
        """What a request will be called that is written next."""
        return Entry(key, self.path.name, self.written.data, len(body), self.written.rows, rows, digest_of(body))

    def write(self, entry: Entry, body: bytes) -> None:
        """Add a request; it is not on disk yet. Where there is no room for all of it, nothing of it stays."""
        before = self.written
        line = (json.dumps(vars(entry)) + "\n").encode()
        try:
            _write_all(self._data, body)
            _write_all(self._journal, line)
        except OSError:
            self._cut(before)
            raise
        self.written = _Mark(
            before.data + len(body), before.journal + len(line), before.rows + entry.rows, before.requests + 1
        )
        self.keyed = self.written.data if entry.key else self.keyed

    def sync(self) -> None:
        """Force what was written to disk. After an error nobody can tell what is there: all that was not safe goes."""
        upto = self.written
        try:
            os.fdatasync(self._data)
            os.fdatasync(self._journal)
        except OSError as error:
            self.failure = error
            self._cut(self.durable)
            raise
        self.durable = upto

    def seal(self) -> None:
        """Give the file its own name: from now on sources see it."""
        if self.failure is None:
            self.sync()
        else:
            self._cut(self.durable)
        part = self.path.with_name(f"{self.path.name}{OPEN}")
        if self.durable.requests:
            part.rename(self.path)
        else:
            part.unlink()
            journal_of(self.path).unlink()
        sync(self.path.parent)
        os.close(self._data)
        os.close(self._journal)

    def _cut(self, mark: _Mark) -> None:
        os.ftruncate(self._data, mark.data)
        os.ftruncate(self._journal, mark.journal)


def _locked(part: Path) -> int:
    """A new file that no other process takes for one that was left open: as `recover` may before it is locked."""
    while True:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, part):
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def seal_left(folder: Path) -> None:
    """Seal what processes that are gone left open below a log's folder, as far as this one may; the living go on."""
    for part in sorted(folder.glob(f"*{OPEN}")):
        with suppress(OSError):  # it stays as it is, for whoever comes next
            recover(part)


def recover(part: Path) -> None:
    """Seal a file that a process which is gone left open, without what was torn; leave it where its writer lives."""
    try:
        descriptor = os.open(part, os.O_RDWR)
    except FileNotFoundError:  # sealed since it was listed
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(descriptor, part):  # its writer has sealed it in between
            return
        path = part.with_name(part.name.removesuffix(OPEN))
        end = 0
        for entry in _sound(part, journal_of(path)):
            end = entry.offset + entry.size
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
        if end:
            part.rename(path)
        else:
            part.unlink()
            journal_of(path).unlink(missing_ok=True)
        sync(part.parent)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def entries(journal: Path) -> Iterator[Entry]:
    """The whole lines of a journal."""
    try:
        text = journal.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            return


def _sound(part: Path, journal: Path) -> Iterator[Entry]:
    """The entries whose bytes are there, from the first on, up to the first that is torn."""
    with part.open("rb") as file:
        for entry in entries(journal):
            file.seek(entry.offset)
            body = file.read(entry.size)
            if len(body) != entry.size or digest_of(body) != entry.digest:
                return
            yield entry


def _write_all(descriptor: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(descriptor, view) :]
