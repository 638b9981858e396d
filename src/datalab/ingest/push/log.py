"""The log of one source's pushed records: requests in, durable before they are acknowledged, files for ingest out."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from uuid import uuid4

from datalab.errors import IdempotencyConflict, StorageFull
from datalab.ingest.push.journal import OPEN, Entry, Segment, digest_of, entries, journal_of, recover
from datalab.lake.formats.local import sync

_KEYS_KEPT = 24 * 3600.0


@dataclass(frozen=True)
class Receipt:
    """Where the records of a request are: file (below the log), first record's number, how many.

    `repeated`: the same request had come before, and nothing was stored again.
    """

    file: str
    row: int
    rows: int
    repeated: bool = False


@dataclass(frozen=True)
class _Kept:
    """A request, and when it was seen; `segment` and `number` tell when it is on disk, where it was not yet."""

    entry: Entry
    at: float
    segment: Segment | None = None
    number: int = 0


class PushLog:
    """Thread-safe; several processes may have logs in the same folder. Files are sealed by size and by age.

    A request with a key that was seen in the last day is answered as before; with other bytes it is refused.
    """

    def __init__(self, folder: Path, seal_bytes: int = 64 << 20, seal_seconds: float = 2.0) -> None:
        self._folder = folder
        self._seal_bytes = seal_bytes
        self._seal_seconds = seal_seconds
        self._segment: Segment | None = None
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in sorted(folder.glob(f"*{OPEN}")):
            recover(part)
        self._known = {kept.entry.key: kept for kept in _recent(folder) if kept.entry.key}

    def append(self, body: bytes, rows: int, key: str = "") -> Receipt:
        """Store JSON lines (each ended by a line feed); answers when they are on disk.

        IdempotencyConflict, StorageFull.
        """
        with self._lock, _refused(self._folder):
            known = self._seen(key, body)
            if known is None:
                segment = self._current()
                entry = segment.write(key, body, rows)
                kept = _Kept(entry, time.time(), segment, segment.written.requests)
                self._known.update({key: kept} if key else {})
            else:
                kept = known
            self._settle(kept)
        return Receipt(kept.entry.file, kept.entry.row, kept.entry.rows, repeated=known is not None)

    def put(self, body: bytes, rows: int, suffix: str, key: str = "") -> Receipt:
        """Store a file as it came (an Avro container); answers when it is on disk. IdempotencyConflict, StorageFull."""
        with self._lock, _refused(self._folder):
            known = self._seen(key, body)
            if known is not None:
                self._settle(known)
                return Receipt(known.entry.file, known.entry.row, known.entry.rows, repeated=True)
            segment = Segment(self._folder / _name(suffix), time.time())
            try:
                entry = segment.write(key, body, rows)
            finally:
                segment.seal()
            self._known.update({key: _Kept(entry, time.time())} if key else {})
        return Receipt(entry.file, entry.row, entry.rows)

    def seal_due(self, *, now: float | None = None) -> None:
        """Seal the open file if it is old or large enough, and forget old keys: to be called from time to time."""
        now = time.time() if now is None else now
        with self._lock:
            if self._segment is not None and self._is_due(self._segment, now):
                self._seal(self._segment)
            for key in [*takewhile(lambda key: self._known[key].at < now - _KEYS_KEPT, self._known)]:
                del self._known[key]

    def close(self) -> None:
        """Seal what is open."""
        with self._lock:
            if self._segment is not None:
                self._seal(self._segment)

    def _seen(self, key: str, body: bytes) -> _Kept | None:
        kept = self._known.get(key) if key else None
        if kept is not None and kept.entry.digest != digest_of(body):
            raise IdempotencyConflict(
                f"the idempotency key '{key}' came before with other records", "use a new key for new records"
            )
        return kept

    def _current(self) -> Segment:
        now = time.time()
        while self._segment is not None and self._is_due(self._segment, now):
            self._seal(self._segment)
        if self._segment is None:
            self._segment = Segment(self._folder / _name(".jsonl"), now)
            sync(self._folder)
        return self._segment

    def _is_due(self, segment: Segment, now: float) -> bool:
        old = segment.written.data >= self._seal_bytes or now - segment.opened >= self._seal_seconds
        return segment.failure is not None or (old and segment.written.rows > 0)

    def _seal(self, segment: Segment) -> None:
        """Only when nobody is forcing it to disk: that thread uses the open file."""
        while segment.syncing:
            self._moved.wait()
        if self._segment is segment:
            segment.seal()
            self._segment = None
            self._moved.notify_all()

    def _settle(self, kept: _Kept) -> None:
        """One thread forces to disk what all have written so far; the others wait for it."""
        segment = kept.segment
        while segment is not None and segment.durable.requests < kept.number:
            if segment.failure is not None:
                self._known.pop(kept.entry.key, None)
                raise segment.failure
            if segment.syncing:
                self._moved.wait()
                continue
            segment.syncing = True
            self._lock.release()
            try:
                with suppress(OSError):  # kept in `failure`, for all who wait
                    segment.sync()
            finally:
                self._lock.acquire()
                segment.syncing = False
                self._moved.notify_all()


def _name(suffix: str) -> str:
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}-{uuid4().hex[:8]}{suffix}"


def _recent(folder: Path) -> Iterator[_Kept]:
    """The requests of the last day; journals of files that are older are removed."""
    oldest = time.time() - _KEYS_KEPT
    for journal in sorted(folder.glob(".*.journal")):
        path = folder / journal.name.removeprefix(".").removesuffix(".journal")
        if path.with_name(f"{path.name}{OPEN}").exists():
            continue
        written = journal.stat().st_mtime
        if written < oldest:
            journal.unlink(missing_ok=True)
        else:
            yield from (_Kept(entry, written) for entry in entries(journal_of(path)))


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"no space left for pushed records in {folder}", "free space, send again") from error
        raise
