"""One killer message costs only itself: a job that ends its worker is halved until the message is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from datalab.ingest.isolate import in_own_folder, remove_folder, remove_unused
from datalab.ingest.message_jobs import DECODE_MESSAGES, MessageJob, MessagesDone, Refused
from datalab.ingest.reasons import Reject
from datalab.ingest.workers import Call, Died, Value, Workers

_SPEED = 20_000  # messages a second, at the very least


class MessageRun:
    """Message jobs on their way through the workers, whose turn is held from the first of them to the end."""

    def __init__(self, workers: Workers, most: int) -> None:
        self._workers = workers
        self._most = most
        self._made: list[MessageJob] = []
        self._waiting = 0
        self._done: list[MessagesDone] = []
        self._turn = False

    def submit(self, job: MessageJob) -> None:
        """Give a job to the workers; waits for one of them where so many jobs wait already."""
        self._turn = self._turn or self._workers.turn.acquire()
        while self._waiting >= self._most:
            self._take()
        self._begin(job)

    @property
    def free(self) -> bool:
        """Whether `submit` would not wait."""
        while self._waiting >= self._most and self._workers.answered:
            self._take()
        return self._waiting < self._most

    def finish(self) -> MessagesDone:
        """The answers to all jobs as one."""
        while self._waiting:
            self._take()
        data = tuple(file for each in self._done for file in each.data)
        remove_unused(self._made, data)
        refused = (each for done in self._done for each in done.refused)
        ordered = sorted(refused, key=lambda each: (each.partition, each.offset))
        self._release()
        return MessagesDone(sum(each.accepted for each in self._done), tuple(ordered), data)

    def abandon(self) -> None:
        """End what is under way; nothing that was written stays."""
        if self._turn:
            self._workers.close()
        for each in self._made:
            remove_folder(each)
        self._release()

    def _release(self) -> None:
        if self._turn:
            self._turn = False
            self._workers.turn.release()

    def _begin(self, job: MessageJob) -> None:
        own = in_own_folder(job)
        self._made.append(replace(own, messages=()))  # which are let go of as soon as they are decoded
        seconds = job.limits.worker_seconds + job.count / _SPEED
        self._workers.submit(Call(DECODE_MESSAGES, own, seconds))
        self._waiting += 1

    def _take(self) -> None:
        """The next answer; what ended its worker is begun again in parts, to be taken in its turn like any other."""
        call, outcome = self._workers.next()
        self._waiting -= 1
        job: MessageJob = call.argument
        if isinstance(outcome, Value):
            self._done.append(outcome.value)
        elif not isinstance(outcome, Died):
            raise outcome.error
        elif job.count > 1:
            for half in _halves(job.messages):
                self._begin(replace(job, messages=half))
        elif outcome.doubtful:
            self._begin(job)
        else:
            self._done.append(_killed(job, outcome))


def _killed(job: MessageJob, died: Died) -> MessagesDone:
    (batch,) = (each for each in job.messages if each.num_rows)
    ((row),) = batch.to_pylist()
    reject = Reject.of(0, died.reason, died.detail, row["value"] or b"")
    return MessagesDone(refused=(Refused(row["partition"], row["offset"], reject),))


def _halves(batches: Sequence[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, ...]]:
    table = pa.Table.from_batches(batches).combine_chunks()
    half = table.num_rows // 2
    for part in (table.slice(0, half), table.slice(half)):
        yield tuple(part.to_batches())


def run_messages(workers: Workers, jobs: Iterable[MessageJob], most: int) -> MessagesDone:
    """The answers to all jobs as one. An error of storage or engine is raised, and no file is left behind."""

    def fill(run: MessageRun) -> None:
        for job in jobs:
            run.submit(job)

    return with_run(workers, most, fill)


def with_run(workers: Workers, most: int, fill: Callable[[MessageRun], object]) -> MessagesDone:
    """`fill` submits jobs; answers what became of them. On any error no file is left behind."""
    run = MessageRun(workers, most)
    try:
        fill(run)
        return run.finish()
    except BaseException:
        run.abandon()
        raise
