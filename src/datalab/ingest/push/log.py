"""The log of one source's pushed records: requests in, durable before they are acknowledged, files for ingest out."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from uuid import uuid4

from datalab.errors import IdempotencyConflict, StorageFull
from datalab.ingest.push.journal import OPEN, Entry, Segment, digest_of, entries, journal_of, recover
from datalab.ingest.push.keys import Keys, Missed, Safe, Told
from datalab.lake.local import sync

_KEYS_KEPT = 24 * 3600.0
_FILES_KEPT = 1_000
_PATIENCE, _PAUSE = 10.0, 0.005


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
    """A request, and when it was seen; `segment` and `number` tell when it is on disk, where it was not yet.

    `told`: another process said so, and it may not be on disk, or never come there.
    """

    entry: Entry
    at: float
    segment: Segment | None = None
    number: int = 0
    told: bool = False


class PushLog:
    """Thread-safe; several processes may have logs in the same folder. Files are sealed by size and by age.

    A request with a key that any of them has seen in the last day is answered as before, and refused with other bytes.
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
        self._keys = Keys(folder)
        self._safe: dict[str, int] = {}
        self._known = {kept.entry.key: kept for kept in _recent(folder)}

    def append(self, body: bytes, rows: int, key: str = "") -> Receipt:
        """Store JSON lines (each ended by a line feed); answers when they are on disk.

        IdempotencyConflict, StorageFull.
        """
        with self._lock, _refused(self._folder):
            kept, fresh = self._taken(self._current, (key, body, rows))
            if fresh:
                self._store(kept, body)
            self._settle(kept)
        return _receipt(kept, repeated=not fresh)

    def put(self, body: bytes, rows: int, suffix: str, key: str = "") -> Receipt:
        """Store a file as it came (an Avro container); answers when it is on disk. IdempotencyConflict, StorageFull."""
        with self._lock, _refused(self._folder):
            segment = Segment(self._folder / _name(suffix), time.time())
            try:
                kept, fresh = self._taken(lambda: segment, (key, body, rows))
                if fresh:
                    self._store(kept, body)
            finally:
                segment.seal()
            self._tell_safe(segment)
            self._settle(kept)
        return _receipt(kept, repeated=not fresh)

    def seal_due(self, *, now: float | None = None) -> None:
        """Seal the open file if it is old or large enough, and forget old keys: to be called from time to time."""
        now = time.time() if now is None else now
        with self._lock:
            with suppress(OSError), self._keys.alone():
                self._hear()
            if self._segment is not None and self._is_due(self._segment, now):
                self._seal(self._segment)
            for key in [*takewhile(lambda key: self._known[key].at < now - _KEYS_KEPT, self._known)]:
                del self._known[key]

    def close(self) -> None:
        """Seal what is open."""
        with self._lock:
            if self._segment is not None:
                self._seal(self._segment)
            self._keys.close()

    def _taken(self, segment: Callable[[], Segment], request: tuple[str, bytes, int]) -> tuple[_Kept, bool]:
        """A request by its key, bytes and rows; whether it is to be stored now. What others are storing is awaited."""
        key, body, _ = request
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            open_file = segment()  # nobody may wait for this lock between hearing and telling
            if not key:
                return self._claimed(open_file, request), True
            with self._keys.alone():
                self._hear()
                known = self._known.get(key)
                if known is None:
                    return self._claimed(open_file, request), True
            if not known.told:
                _require_same(known, body)
                return known, False
            if not self._decided(known):
                self._moved.wait(_PAUSE)
        raise TimeoutError(f"another process has not stored the request '{key}' in time")

    def _claimed(self, segment: Segment, request: tuple[str, bytes, int]) -> _Kept:
        """A request that is to be stored next. Told before it is written: else a kill in between would hide it."""
        kept = _Kept(segment.entry(*request), time.time(), segment, segment.written.requests + 1)
        if kept.entry.key:
            self._keys.tell(Told(kept.entry, kept.at))
            self._known[kept.entry.key] = kept
        return kept

    def _store(self, kept: _Kept, body: bytes) -> None:
        assert kept.segment is not None
        try:
            kept.segment.write(kept.entry, body)
        except OSError:
            self._known.pop(kept.entry.key, None)
            kept.segment.spoilt = True
            raise

    def _hear(self) -> None:
        """Take in what other processes told."""
        for news in self._keys.news():
            match news:
                case Told(entry, at):
                    self._heard(entry, at)
                case Safe(file, size):
                    self._safe[file] = size
                    while len(self._safe) > _FILES_KEPT:
                        del self._safe[next(iter(self._safe))]
                case Missed():
                    self._known = {**{kept.entry.key: kept for kept in _recent(self._folder)}, **self._known}

    def _heard(self, entry: Entry, at: float) -> None:
        kept = self._known.get(entry.key)
        if (kept is None or kept.entry != entry) and at > time.time() - _KEYS_KEPT:
            self._known.pop(entry.key, None)
            self._known[entry.key] = _Kept(entry, at, told=True)

    def _decided(self, kept: _Kept) -> bool:
        """Whether it is known by now if another process has stored what it said."""
        entry = kept.entry
        path = self._folder / entry.file
        if self._safe.get(entry.file, 0) < entry.offset + entry.size:
            part = path.with_name(f"{path.name}{OPEN}")
            recover(part)
            if part.exists():
                return False
            if entry not in entries(journal_of(path)):
                del self._known[entry.key]
                return True
        self._known[entry.key] = replace(kept, told=False)
        return True

    def _tell_safe(self, segment: Segment) -> None:
        """Where it cannot be told, others look into the journal once the file is sealed."""
        if segment.told < min(segment.keyed, segment.durable.data) and segment.failure is None:
            segment.told = segment.durable.data
            with suppress(OSError), self._keys.alone():
                self._hear()
                self._keys.tell(Safe(segment.path.name, segment.told))

    def _current(self) -> Segment:
        now = time.time()
        while self._segment is not None and self._is_due(self._segment, now):
            self._seal(self._segment)
        if self._segment is None:
            self._segment = Segment(self._folder / _name(".jsonl"), now)
            sync(self._folder)
        return self._segment

    def _is_due(self, segment: Segment, now: float) -> bool:
        aged = not 0 <= now - segment.opened < self._seal_seconds  # also where the clock was set back
        old = segment.written.data >= self._seal_bytes or aged
        return segment.spoilt or segment.failure is not None or (old and segment.written.rows > 0)

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
            self._tell_safe(segment)


def _receipt(kept: _Kept, *, repeated: bool = False) -> Receipt:
    return Receipt(kept.entry.file, kept.entry.row, kept.entry.rows, repeated)


def _require_same(kept: _Kept | None, body: bytes) -> None:
    if kept is not None and kept.entry.digest != digest_of(body):
        raise IdempotencyConflict(
            f"the idempotency key '{kept.entry.key}' came before with other records", "use a new key for new records"
        )


def _name(suffix: str) -> str:
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}-{uuid4().hex[:8]}{suffix}"


def _recent(folder: Path) -> Iterator[_Kept]:
    """The requests of the last day that have a key; journals of files that are older are removed."""
    oldest = time.time() - _KEYS_KEPT
    for journal in sorted(folder.glob(".*.journal")):
        path = folder / journal.name.removeprefix(".").removesuffix(".journal")
        is_open = path.with_name(f"{path.name}{OPEN}").exists()
        with suppress(FileNotFoundError):
            written = journal.stat().st_mtime
            if written < oldest and not is_open:
                journal.unlink()
            else:
                yield from (_Kept(each, written, told=is_open) for each in entries(journal) if each.key)


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"no space left for pushed records in {folder}", "free space, send again") from error
        raise
