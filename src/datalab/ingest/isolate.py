"""One killer record costs only itself: a job that ends its worker is halved, down to file, block and record."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

from datalab.ingest.content import Unstable, can_be_read, has_size
from datalab.ingest.decode.spans import Span
from datalab.ingest.jobs import COUNT, DECODE, DESCRIBE, Done, FileDone, Job, Unit
from datalab.ingest.reasons import WHOLE, Reject
from datalab.ingest.workers import Call, Died, Failed, Outcome, Value, Workers
from datalab.lake.table import DataFile, WriteTarget

UNFINISHED = "it is still being written"
_SPEED = 1 << 20
_OWN = re.compile(r"/ingest-[0-9a-f]{32}\Z")
Run = Callable[[str, Job], Outcome]


def run_jobs(workers: Workers, jobs: Iterable[Job]) -> Done:
    """The answers to all jobs as one. An error of storage or engine is raised, and no file is left behind."""
    with workers.turn:
        return _run_jobs(workers, jobs)


def _run_jobs(workers: Workers, jobs: Iterable[Job]) -> Done:
    made: list[Job] = []

    def begin(function: str, job: Job) -> None:
        own = in_own_folder(job)
        made.append(own)
        seconds = job.limits.worker_seconds + sum(each.size for each in job.files) / _SPEED
        workers.submit(Call(function, own, seconds))

    def run(function: str, job: Job) -> Outcome:
        begin(function, job)
        return workers.next()[1]

    try:
        for job in jobs:
            begin(DECODE, job)
        first = [workers.next() for _ in range(len(made))]
        done = [each for call, outcome in first for each in conclude(run, call.argument, outcome)]
    except BaseException:
        workers.close()
        for each in made:
            remove_folder(each)
        raise
    merged = merge(done)
    remove_unused(made, merged.data)
    return merged


def conclude(run: Run, job: Job, outcome: Outcome) -> Iterator[Done]:
    """What is known of a job after its outcome, running smaller ones where that is not all of it."""
    if isinstance(outcome, Value):
        yield outcome.value
    elif isinstance(outcome, Failed):
        yield from _without_unstable(run, job, outcome.error)
    elif len(job.files) > 1:
        half = len(job.files) // 2
        yield from _again(run, [replace(job, files=part) for part in (job.files[:half], job.files[half:])])
    else:
        yield from _narrow(run, job, outcome)


def _again(run: Run, jobs: Sequence[Job]) -> Iterator[Done]:
    for job in jobs:
        yield from conclude(run, job, run(DECODE, job))


def _without_unstable(run: Run, job: Job, error: BaseException) -> Iterator[Done]:
    """A file that changed while it was read is left for later; any other error is not the records' fault."""
    if not isinstance(error, Unstable):
        raise error
    yield Done((FileDone(error.path, problem=UNFINISHED),))
    rest = tuple(each for each in job.files if each.name != error.path)
    if rest:
        yield from _again(run, [replace(job, files=rest)])


def _narrow(run: Run, job: Job, died: Died) -> Iterator[Done]:
    (each,) = job.files
    span = each.span
    if span is None:
        counted = _surely(run, COUNT, job)
        if isinstance(counted, Value):
            yield from _again(run, [_with_span(job, part) for part in _halves(Span(0, max(counted.value, 1)))])
        elif isinstance(counted, Failed) and _of_machine(counted.error):
            yield from _without_unstable(run, job, counted.error)
        else:
            yield _refused(job, died, Unit(WHOLE, 1, b"", each.size))
    elif span.stop - span.start > 1:
        yield from _again(run, [_with_span(job, part) for part in _halves(span)])
    elif each.format == "avro" and not span.alone:
        yield from _again(run, [_with_span(job, replace(span, alone=True))])
    elif died.doubtful:
        yield from _again(run, [job])
    else:
        yield from _killer(run, job, died)


def _surely(run: Run, function: str, job: Job) -> Outcome:
    """Asked again until the answer, or the lack of memory, is not that of a worker which had worked before."""
    while isinstance(outcome := run(function, job), Died) and outcome.doubtful:
        pass
    return outcome


def _of_machine(error: BaseException) -> bool:
    """Whether a disk or a system failed, and not a decoder: then nothing is known of the data."""
    return isinstance(error, Unstable) or (isinstance(error, OSError) and error.errno is not None)


def _killer(run: Run, job: Job, died: Died) -> Iterator[Done]:
    """One unit that cannot be decoded as a whole: its first records as far as they can, the rest is refused."""
    (each,) = job.files
    described = _surely(run, DESCRIBE, job)
    if isinstance(described, Failed) and _of_machine(described.error):
        yield from _without_unstable(run, job, described.error)
        return
    unit = described.value if isinstance(described, Value) else Unit(WHOLE, 1, b"", each.size)
    head = 0
    if each.span and each.span.alone and unit.row != WHOLE:
        head = _longest_head(run, job, unit.records)
        yield from _again(run, [_with_span(job, replace(each.span, head=head))] if head else [])
    yield _refused(job, died, replace(unit, row=unit.row + head, records=unit.records - head))


def _longest_head(run: Run, job: Job, records: int) -> int:
    """How many records of the unit can be decoded before its worker dies; nothing is written meanwhile."""
    (each,) = job.files
    assert each.span is not None
    good, bad, middle = 0, records, 1
    while bad - good > 1:
        trial = replace(_with_span(job, replace(each.span, head=middle)), target=None)
        good, bad = (good, middle) if isinstance(_surely(run, DECODE, trial), Died) else (middle, bad)
        middle = (good + bad) // 2
    return good


def _refused(job: Job, died: Died, unit: Unit) -> Done:
    (each,) = job.files
    if each.data is None and not has_size(each.path, each.size):  # a file cut short under a reader ends it, too
        return Done((FileDone(each.name, problem=UNFINISHED),))
    if each.data is None and not can_be_read(each.path):  # and so does a disk that fails under a mapped file
        return Done((FileDone(each.name, problem="it cannot be read"),))
    reject = Reject(unit.row, died.reason, died.detail, unit.raw, unit.raw_size, max(unit.records, 1))
    return Done((FileDone(each.name, unit.version, rejects=(reject,)),))


def _with_span(job: Job, span: Span) -> Job:
    (each,) = job.files
    return replace(job, files=(replace(each, span=span),))


def _halves(span: Span) -> tuple[Span, ...]:
    if span.stop - span.start < 2:
        return (span,)
    middle = (span.start + span.stop) // 2
    return Span(span.start, middle), Span(middle, span.stop)


def merge(done: Iterable[Done]) -> Done:
    """Several answers as one: a file that was decoded in pieces is one file again."""
    files: dict[str, FileDone] = {}
    data: list[DataFile] = []
    for each in done:
        data.extend(each.data)
        for file in each.files:
            known = files.get(file.name)
            files[file.name] = _merged(known, file) if known else file
    return Done(tuple(files.values()), tuple(data))


def _merged(known: FileDone, more: FileDone) -> FileDone:
    return FileDone(
        known.name,
        known.version or more.version,
        known.accepted + more.accepted,
        tuple(dict.fromkeys((*known.rejects, *more.rejects))),
        known.problem or more.problem,
        known.rows + more.rows,
    )


class Targeted(Protocol):
    """A job that may write into a target."""

    @property
    def target(self) -> WriteTarget | None:
        """Where it writes; None: nowhere."""


Made = TypeVar("Made", bound=Targeted)


def in_own_folder(job: Made) -> Made:
    """What a worker that dies has written must be found again: each job writes into a folder of its own."""
    if job.target is None:
        return job
    base = _OWN.sub("", job.target.location.rstrip("/"))
    own: Made = replace(job, target=replace(job.target, location=f"{base}/ingest-{uuid4().hex}"))  # type: ignore[type-var]
    return own


def remove_folder(job: Targeted) -> None:
    """Remove what a job wrote."""
    if job.target is not None:
        shutil.rmtree(job.target.location.removeprefix("file://"), ignore_errors=True)


def remove_unused(jobs: Iterable[Targeted], data: Sequence[DataFile]) -> None:
    """Remove the folders of jobs that hold none of the data files."""
    used = {str(Path(file.path.removeprefix("file://")).parent) for file in data}
    for job in jobs:
        if job.target and job.target.location.removeprefix("file://").rstrip("/") not in used:
            remove_folder(job)
