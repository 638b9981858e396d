"""Worker processes with bounds on memory and time. A worker that breaks them is ended, and its call is told so."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import IO, Any, Self

from datalab.errors import WorkerCrashed
from datalab.ingest.handover import Packed, Shared, unpack
from datalab.ingest.nursery import Nursery
from datalab.ingest.reasons import Reason

_OUT_OF_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "out of memory")
_TOO_MUCH = "decoding needs more memory than a worker may have"
_READY = b"datalab.ingest.worker: ready"
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """A function as `module:name`, which the worker alone imports; its argument, and the seconds it may take."""

    function: str
    argument: Any
    seconds: float


@dataclass(frozen=True)
class Value:
    """The call answered."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The call raised; the worker lives on."""

    error: BaseException


@dataclass(frozen=True)
class Died:
    """The worker died of the call, or was ended: `reason` is worker_crashed, too_large or too_slow.

    It is `worn` if it had answered other calls before, and may have held memory since.
    """

    reason: Reason
    detail: str
    worn: bool = field(default=False, compare=False)

    @property
    def doubtful(self) -> bool:
        """Whether a new worker may have room for the same call."""
        return self.worn and self.reason is Reason.TOO_LARGE


Outcome = Value | Failed | Died


class _Worker:
    """One process, and the call that it is busy with. What `function` needs it loads beyond its memory limit."""

    def __init__(self, nursery: Nursery, memory: int, function: str) -> None:
        self.connection, child = Pipe()
        self.shared = Shared()
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._nursery = nursery
        try:
            descriptors = (child.fileno(), self.shared.descriptor, self.errors.fileno())
            self._number = nursery.start(*descriptors, memory, function)
        except WorkerCrashed:
            self.close()
            raise
        finally:
            child.close()
        self._call: Call | None = None
        self._packed: Packed = (b"", ())
        self.deadline = 0.0
        self.fresh = True
        self.started = False
        self.worn = False

    def begin(self, call: Call) -> None:
        """Send the call; time begins to run, with an allowance for a process that has just been started.

        What it was given lies in memory that both share, and is let go of here.
        """
        self._packed = self.shared.pack(call.argument)
        self._call = replace(call, argument=None)
        self.deadline = time.monotonic() + call.seconds + (_START_SECONDS if self.fresh else 0)
        self.fresh = False
        with suppress(BrokenPipeError):  # its end is noticed when the answer is awaited
            self.connection.send((call.function, self._packed))

    def called(self) -> Call:
        """The call that it is or was busy with. Its argument's large buffers are valid until the next one begins."""
        assert self._call is not None
        return replace(self._call, argument=unpack(self.shared.descriptor, self._packed))

    def answered(self) -> None:
        """It waits for the next call: what it wrote on the way, a line for each damaged record perhaps, is dropped."""
        self.started = self.worn = True
        self.errors.seek(0)
        self.errors.truncate()

    def end(self) -> tuple[int, str]:
        """End the process; answers its exit code and the last words it wrote since its last answer. WorkerCrashed."""
        try:
            code = self._nursery.end(self._number)
            self.errors.seek(0)
            found = self.errors.read()
        finally:
            self.close()
        self.started = self.started or _READY in found
        return code, found[-4_000:].decode("utf-8", "replace")

    def close(self) -> None:
        """Let go of what it shares with the process, which has ended or will."""
        self.connection.close()
        self.shared.close()
        self.errors.close()


class Workers:
    """Up to `count` processes, started when there is work; calls are answered in the order in which they finish.

    They are copies of one more, which loads what they need. Several threads may share them: each takes `turn` from its
    first call to its last answer.
    """

    def __init__(self, count: int, memory: int) -> None:
        self._count = count
        self._memory = memory
        self.turn = threading.Lock()
        self._queue: deque[Call] = deque()
        self._idle: list[_Worker] = []
        self._busy: dict[Connection[Any, Any], _Worker] = {}
        self._nursery: Nursery | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm(self, count: int, function: str) -> None:
        """Start up to `count` processes for calls of a function that will come soon, so that it takes no time then."""
        with self.turn:
            for _ in range(min(count, self._count) - len(self._idle) - len(self._busy)):
                self._idle.append(self._start(function))

    def submit(self, call: Call) -> None:
        """Queue a call, and begin it if a worker is free."""
        self._queue.append(call)
        self._feed()

    @property
    def pending(self) -> bool:
        """Whether calls are queued or under way."""
        return bool(self._queue or self._busy)

    @property
    def answered(self) -> bool:
        """Whether `next` has something to answer at once. Must be `pending`."""
        return bool(wait(list(self._busy), timeout=0))

    def next(self) -> tuple[Call, Outcome]:
        """Wait for the next call to finish. Must be `pending`."""
        while True:
            self._feed()
            soonest = min(worker.deadline for worker in self._busy.values())
            ready = wait(list(self._busy), timeout=max(0.0, soonest - time.monotonic()))
            for connection in ready:
                return self._answer(self._busy.pop(connection))  # type: ignore[call-overload]
            late = [each for each, worker in self._busy.items() if worker.deadline <= time.monotonic()]
            for connection in late:
                return self._overdue(self._busy.pop(connection))

    def close(self) -> None:
        """End all processes; calls that were not answered are dropped."""
        self._queue.clear()
        if self._nursery is not None:
            self._nursery.close()
        for worker in (*self._idle, *self._busy.values()):
            worker.close()
        self._nursery, self._idle, self._busy = None, [], {}

    def _feed(self) -> None:
        while self._queue and (self._idle or len(self._busy) < self._count):
            worker = self._idle.pop() if self._idle else self._start(self._queue[0].function)
            worker.begin(self._queue.popleft())
            self._busy[worker.connection] = worker

    def _start(self, function: str) -> _Worker:
        try:
            self._nursery = self._nursery or Nursery(function)
            return _Worker(self._nursery, self._memory, function)
        except WorkerCrashed:
            self.close()
            raise
        except OSError as error:
            raise WorkerCrashed(f"no decoding process can be started: {error}", "free memory or processes") from error

    def _answer(self, worker: _Worker) -> tuple[Call, Outcome]:
        call = worker.called()
        try:
            good, value = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return call, self._death(worker)
        if not good and isinstance(value, MemoryError):
            worker.end()
            return call, Died(Reason.TOO_LARGE, _TOO_MUCH, worker.worn)
        worker.answered()
        self._idle.append(worker)
        return call, Value(value) if good else Failed(value)

    def _overdue(self, worker: _Worker) -> tuple[Call, Outcome]:
        call = worker.called()
        worker.end()
        return call, Died(Reason.TOO_SLOW, f"decoding took more than {call.seconds:.0f} seconds")

    def _death(self, worker: _Worker) -> Died:
        code, words = worker.end()
        if not worker.started:
            raise WorkerCrashed(
                f"a decoding process did not start: {words[-500:]}", "is ingest.worker_memory large enough?"
            )
        if code == -signal.SIGKILL or any(sign in words for sign in _OUT_OF_MEMORY):
            return Died(Reason.TOO_LARGE, _TOO_MUCH, worker.worn)
        return Died(Reason.WORKER_CRASHED, f"the decoding process ended with code {code}")
