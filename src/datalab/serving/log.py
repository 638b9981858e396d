"""The local log: what was answered is written here before the answer goes out, and moves on to the lake later.

One file per writer, held under a lock while it is written; a file without its writer is complete. A record is one
line. A line without its end was never answered.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from datalab.errors import ScoreLogFailed
from datalab.lake.local import sync as sync_to_disk

Sync = Literal["process", "disk"]
SUFFIX = ".jsonl"
_DRAFT = ".new"
_PROBE_BYTES = 1 << 16


class RecordLog:
    """Appends records to a folder of files. Thread-safe.

    `sync` process: a record survives the end of this process, however it ends; the system writes it to disk in its
    own time. disk: `settled` waits until it is on disk, several waiting for one flush.
    `failing`: why the last record could not be written; empty where it could.
    """

    def __init__(
        self, folder: Path, rotate_bytes: int, sync: Sync = "process", clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._clock = clock
        self.name = folder.name
        self.sync = sync
        self.failing = ""
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._opened_at = 0.0
        self._flushing: asyncio.Task[None] | None = None

    def append(self, lines: bytes) -> None:
        """Write whole lines, all of them or none. ScoreLogFailed."""
        with self._lock:
            try:
                file = self._current()
                self._write(file, lines)
            except OSError as error:
                self.failing = error.strerror or type(error).__name__
                raise ScoreLogFailed(
                    f"the log in {self._folder} cannot be written: {self.failing}",
                    "free space, or mend the folder: nothing is answered that is not recorded",
                ) from error
            self._size += len(lines)
            self.failing = ""

    def probe(self) -> str:
        """Why records cannot be written; empty where they can. After a failure a draft is tried."""
        if self.failing:
            try:
                self._try_out()
                self.failing = ""
            except OSError as error:
                self.failing = error.strerror or type(error).__name__
        return self.failing

    async def settled(self) -> None:
        """With `sync` disk: what was appended before is on disk now. ScoreLogFailed."""
        if self.sync != "disk":
            return
        before = self._flushing
        if before is not None and not before.done():
            await asyncio.wait([before])  # it may have begun before our record was written
        if self._flushing is before or self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(asyncio.to_thread(self._flush))
        await asyncio.shield(self._flushing)

    def rotate(self, older_than: float = 0.0) -> None:
        """Leave the present file to be taken to the lake and removed, where it has records and is that old.

        A file from the future is left too: the clock was set back. One that was removed is left at once: what is
        written to it reaches nobody.
        """
        with self._lock:
            if self._file is not None and os.fstat(self._file).st_nlink == 0:
                self._close()
            if self._file is not None and self._size and not 0 <= self._clock() - self._opened_at < older_than:
                self._close()

    def close(self) -> None:
        """Leave the present file."""
        with self._lock:
            self._close()

    def _write(self, file: int, lines: bytes) -> None:
        written = 0
        try:
            while written < len(lines):
                written += os.write(file, lines[written:] if written else lines)
        except OSError:
            if written:
                self._take_back(file, told=b"\n" in lines[:written])
            raise

    def _take_back(self, file: int, *, told: bool) -> None:
        """Cut off what was half written.

        Where whole lines were there (`told`), a flusher may have taken them. Nothing else may come to stand in their
        place, so the file is left.
        """
        try:
            os.ftruncate(file, self._size)
        except OSError:
            told = True
        if told:
            self._close()

    def _current(self) -> int:
        if self._file is not None and self._size >= self._rotate_bytes:
            self._close()
        if self._file is None:
            self._file = self._open()
            self._size, self._opened_at = 0, self._clock()
        return self._file

    def _open(self) -> int:
        """A new file, locked before it has its name: whoever sees it without a lock knows that it is complete."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{int(self._clock() * 1e6):016d}-{secrets.token_hex(4)}{SUFFIX}"
        draft = self._folder / f"{name}{_DRAFT}"
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        draft.rename(self._folder / name)
        if self.sync == "disk":
            sync_to_disk(self._folder)
        return file

    def _try_out(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._folder / f"probe-{secrets.token_hex(4)}{_DRAFT}"
        try:
            draft.write_bytes(bytes(_PROBE_BYTES))
            if self.sync == "disk":
                sync_to_disk(draft)
        finally:
            draft.unlink(missing_ok=True)

    def _flush(self) -> None:
        with self._lock:
            file = None if self._file is None else os.dup(self._file)
        if file is None:
            return
        try:
            os.fsync(file)
        except OSError as error:
            self.failing = error.strerror or type(error).__name__
            raise ScoreLogFailed(f"the log in {self._folder} cannot be flushed: {self.failing}") from error
        finally:
            os.close(file)

    def _close(self) -> None:
        if self._file is not None:
            if self.sync == "disk":
                os.fsync(self._file)
            os.close(self._file)
            self._file = None
