"""A process that loads what decoding needs once; workers are copies of it, which cost nothing to load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from datalab.errors import WorkerCrashed
from datalab.ingest.handover import ORDER_BYTES

_QUIET = {
    "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",  # a quarter less memory than with mimalloc, at the same speed
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # a thread would not be copied
    "MIMALLOC_ARENA_RESERVE": "64M",  # where there is none: 1 GB of the limit would be taken at the first byte
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "PYTHONFAULTHANDLER": "",
    "RUST_BACKTRACE": "0",
}
_LOADED = b"datalab.ingest.worker: loaded"
_PATIENCE = 60.0


class Nursery:
    """The process that loads what `function` needs, and starts and ends the workers that it is the parent of."""

    def __init__(self, function: str) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_PATIENCE)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "datalab.ingest.worker", str(theirs.fileno()), function],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=self._words,
            stderr=self._words,
            env={**os.environ, **_QUIET, "PYTHONPATH": path},
            start_new_session=True,
        )
        theirs.close()
        self._count = 0

    @property
    def pid(self) -> int:
        """The process, whose children are the workers."""
        return self._process.pid

    def start(self, connection: int, shared: int, words: int, memory: int, function: str) -> int:
        """Have a worker started on three descriptors, of which the last takes what it prints; answers its number.

        Nobody waits for it: what goes wrong is noticed when its connection closes. WorkerCrashed.
        """
        self._count += 1
        self._ask(f"start {self._count} {memory} {function}", (connection, shared, words))
        return self._count

    def end(self, number: int) -> int:
        """Have a worker ended where it lives; answers its exit code, negative for a signal. WorkerCrashed."""
        self._ask(f"end {number}")
        with suppress(OSError):
            if answer := self._control.recv(64):
                return int(answer)
        raise self._gone()

    def close(self) -> None:
        """End the process and all of its workers."""
        self._control.close()
        if _LOADED not in self._said():  # else it ends its workers first; before, it has none
            self._process.kill()
        self._process.wait()
        with suppress(ProcessLookupError, PermissionError):  # workers that it did not end, for it was killed
            os.killpg(self.pid, signal.SIGKILL)
        self._words.close()

    def _ask(self, order: str, descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._control, [order.encode().ljust(ORDER_BYTES)], descriptors)
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> WorkerCrashed:
        words = self._said()[-500:].decode("utf-8", "replace")
        return WorkerCrashed(f"decoding processes cannot be started: {words}", "free memory or processes")

    def _said(self) -> bytes:
        size = os.fstat(self._words.fileno()).st_size
        return os.pread(self._words.fileno(), size, 0)
