"""Isolation: whatever ends a worker is halved until it alone is refused; a stand-in dies of marked records."""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from datalab.errors import StorageFull
from datalab.ingest.content import Unstable
from datalab.ingest.decode.framing import Schemas
from datalab.ingest.isolate import conclude, in_own_folder, merge
from datalab.ingest.jobs import COUNT, DECODE, DESCRIBE, Done, FileDone, FileJob, Job, Unit
from datalab.ingest.limits import Limits
from datalab.ingest.message_isolate import MessageRun, run_messages
from datalab.ingest.message_jobs import MESSAGES, MessageJob, MessagesDone
from datalab.ingest.reasons import Reason
from datalab.ingest.workers import Call, Died, Failed, Outcome, Value
from datalab.lake.table import WriteTarget
from datalab.names import TableName

UNITS, PER_UNIT = 8, 10
DEATH = Died(Reason.WORKER_CRASHED, "the decoding process ended with code -11")


@dataclass
class Deadly:
    """Runs jobs over files of UNITS blocks with PER_UNIT records; dies of records in `killers`, by file."""

    killers: dict[str, set[int]]
    calls: int = 0

    def __call__(self, function: str, job: Job) -> Outcome:
        self.calls += 1
        if function == COUNT:
            return Value(UNITS)
        if function == DESCRIBE:
            start = job.files[0].span.start  # type: ignore[union-attr]
            return Value(Unit(start * PER_UNIT, PER_UNIT, b"raw", 3))
        assert function == DECODE
        read = {each.name: self._records(each) for each in job.files}
        if any(self.killers.get(name, set()) & set(records) for name, records in read.items()):
            return DEATH
        return Value(Done(tuple(FileDone(name, "v", len(records)) for name, records in read.items())))

    def _records(self, each: FileJob) -> range:
        if each.span is None:
            return range(UNITS * PER_UNIT)
        stop = each.span.stop * PER_UNIT
        start = each.span.start * PER_UNIT
        return range(start, stop if each.span.head is None else start + each.span.head)


def job(*names: str, kind: str = "avro") -> Job:
    files = tuple(FileJob(name, __file__, kind, Path(__file__).stat().st_size) for name in names)
    return Job(files, "", Limits(), datetime(2026, 1, 1, tzinfo=UTC))


def result(run: Deadly, wanted: Job) -> dict[str, FileDone]:
    return {each.name: each for each in merge(conclude(run, wanted, run(DECODE, wanted))).files}


def test_a_killer_record_costs_itself_and_the_rest_of_its_block() -> None:
    run = Deadly({"c": {34}})
    found = result(run, job("a", "b", "c", "d"))
    assert {name: each.accepted for name, each in found.items()} == {"a": 80, "b": 80, "c": 74, "d": 80}
    (reject,) = found["c"].rejects
    assert (reject.row, reject.records, reject.reason, reject.raw) == (34, 6, "worker_crashed", b"raw")
    assert run.calls < 30


def test_several_killers_are_found_each() -> None:
    found = result(Deadly({"a": {0, 79}, "b": {40}}), job("a", "b"))
    assert found["a"].accepted + sum(reject.records for reject in found["a"].rejects) == 80
    assert [reject.row for reject in found["a"].rejects] == [0, 79]
    assert [(reject.row, reject.records) for reject in found["b"].rejects] == [(40, 10)]


def test_a_line_of_text_has_borders_of_its_own() -> None:
    found = result(Deadly({"a": {30}}), job("a", kind="jsonl"))
    assert found["a"].accepted == 70
    assert [(reject.row, reject.records) for reject in found["a"].rejects] == [(30, 10)]


def test_a_file_whose_units_cannot_be_counted_is_refused_as_a_whole() -> None:
    def run(function: str, wanted: Job) -> Outcome:
        return DEATH

    (done,) = merge(conclude(run, job("a"), DEATH)).files
    assert [(reject.row, reject.reason) for reject in done.rejects] == [(-1, "worker_crashed")]


def test_a_file_that_is_still_written_is_left_out_and_the_others_are_done() -> None:
    run = Deadly({})
    found = merge(conclude(run, job("a", "b"), Failed(Unstable("a"))))
    assert [(each.name, each.accepted, each.problem) for each in found.files] == [
        ("a", 0, "it is still being written"),
        ("b", 80, ""),
    ]


def test_a_file_that_was_cut_short_under_its_reader_is_not_refused() -> None:
    def run(function: str, wanted: Job) -> Outcome:
        return DEATH

    cut = job("a")
    cut = replace(cut, files=(replace(cut.files[0], size=1),))
    (done,) = merge(conclude(run, cut, DEATH)).files
    assert (done.rejects, done.problem) == ((), "it is still being written")


def test_trouble_of_the_machine_is_not_the_records_fault() -> None:
    full = StorageFull("no space left")
    with pytest.raises(StorageFull):
        list(conclude(Deadly({}), job("a"), Failed(full)))


def test_pieces_of_a_file_become_one_answer() -> None:
    one = FileDone("a", "v", 3, rows=(1,))
    merged = merge([Done((one,)), Done((replace(one, accepted=4, rows=(2,)),))])
    assert merged.files == (FileDone("a", "v", 7, rows=(1, 2)),)


def test_a_jobs_folder_lies_in_its_tables_wherever_that_is() -> None:
    place = "/data/ingest-old/p/lake/bronze/t/data"
    target = WriteTarget(TableName("bronze", "t"), place, pa.schema([("n", pa.int64())]))
    first = in_own_folder(Job((), "", Limits(), datetime.now(UTC), target))
    again = in_own_folder(first)
    for job in (first, again):
        assert job.target is not None
        assert job.target.location.rpartition("/ingest-")[0] == place
    assert first.target != again.target


def test_a_disk_that_fails_while_units_are_counted_or_described_is_not_the_records_fault() -> None:
    for broken in (COUNT, DESCRIBE):

        def run(function: str, wanted: Job, broken: str = broken) -> Outcome:
            if function == broken:
                return Failed(OSError(errno.EIO, "Input/output error"))
            return Value(1) if function == COUNT else DEATH

        with pytest.raises(OSError, match="Input/output"):
            list(conclude(run, job("a"), DEATH))


def test_a_file_that_the_disk_does_not_give_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalab.ingest.isolate.can_be_read", lambda _path: False)
    found = result(Deadly({"a": {3}}), job("a"))
    assert (found["a"].rejects, found["a"].problem) == ((), "it cannot be read")


def test_only_a_new_worker_proves_that_memory_does_not_suffice() -> None:
    """Every second call is made of a worker that holds memory still."""
    calls = 0

    def run(function: str, wanted: Job) -> Outcome:
        nonlocal calls
        calls += 1
        if calls % 2:
            return Died(Reason.TOO_LARGE, "", worn=True)
        return Deadly({})(function, wanted)

    (done,) = merge(conclude(run, job("a"), Died(Reason.TOO_LARGE, "", worn=True))).files
    assert (done.accepted, done.rejects) == (80, ())


class Asked:
    """Takes calls as workers do; how they are answered is for others to say."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.calls: list[Call] = []

    def submit(self, call: Call) -> None:
        self.calls.append(call)


class Short(Asked):
    """Workers whose first one is short of memory; the next has room."""

    def next(self) -> tuple[Call, Outcome]:
        first = len(self.calls) == 1
        return self.calls[-1], Died(Reason.TOO_LARGE, "", worn=True) if first else Value(MessagesDone(accepted=1))


class InTurn(Asked):
    """Answers calls in the order in which they were made, like several workers; a message `killer` ends its worker."""

    def next(self) -> tuple[Call, Outcome]:
        call = self.calls.pop(0)
        values = [value for batch in call.argument.messages for value in batch["value"].to_pylist()]
        if b"killer" in values:
            return call, Died(Reason.TOO_SLOW, "")
        return call, Value(MessagesDone(accepted=len(values)))


@pytest.mark.parametrize("most", [1, 2, 8])
def test_messages_that_end_several_workers_at_once_cost_only_themselves(most: int) -> None:
    def job(first: int) -> MessageJob:
        values = [b"killer" if at in (2, 7, 11) else b"good" for at in range(first, first + 5)]
        rows = [{"value": value, "partition": 0, "offset": first + at} for at, value in enumerate(values)]
        batch = pa.RecordBatch.from_pylist(rows, MESSAGES)
        return MessageJob((batch,), Schemas({}, {}), "", "topic", Limits(), datetime(2026, 1, 1, tzinfo=UTC))

    done = run_messages(InTurn(), map(job, (0, 5, 10)), most)  # type: ignore[arg-type]
    assert done.accepted == 12
    assert [each.offset for each in done.refused] == [2, 7, 11]


class Slow(InTurn):
    """Workers that answer when they are told to."""

    answered = False


def test_whether_a_job_would_wait() -> None:
    batch = pa.RecordBatch.from_pylist([{"value": b"x", "partition": 0, "offset": 0}], MESSAGES)
    wanted = MessageJob((batch,), Schemas({}, {}), "", "topic", Limits(), datetime(2026, 1, 1, tzinfo=UTC))
    workers = Slow()
    run = MessageRun(workers, 1)  # type: ignore[arg-type]
    assert run.free
    run.submit(wanted)
    assert not run.free
    workers.answered = True
    assert run.free
    run.submit(wanted)
    assert run.finish().accepted == 2


def test_only_a_new_worker_proves_that_memory_does_not_suffice_for_a_message() -> None:
    batch = pa.RecordBatch.from_pylist([{"value": b"x", "partition": 0, "offset": 0}], MESSAGES)
    wanted = MessageJob((batch,), Schemas({}, {}), "", "topic", Limits(), datetime(2026, 1, 1, tzinfo=UTC))
    done = run_messages(Short(), [wanted], 2)  # type: ignore[arg-type]
    assert (done.accepted, done.refused) == (1, ())
