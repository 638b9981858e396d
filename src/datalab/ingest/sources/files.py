"""Source `files`: a pattern of files below the project, each consumed once, named by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from datalab.errors import SourceError
from datalab.ingest.contracts import IN_FILE, Contract
from datalab.ingest.isolate import run_jobs
from datalab.ingest.jobs import DECODE, FileDone, FileJob, Job
from datalab.ingest.limits import Limits
from datalab.ingest.rejected import rejected_table, unit_of
from datalab.ingest.sources.base import Batch, Consumed, Ignored, Pending, Replayed, Run, StagedBatch
from datalab.ingest.sources.files_consumed import CHANGED, consumed_versions, is_same
from datalab.ingest.sources.files_replay import Entry, entries_of, from_raw, good_entries, to_jobs
from datalab.ingest.sources.listing import Listed, format_of, list_files
from datalab.ingest.text_forms import require_text_form
from datalab.ingest.workers import Workers
from datalab.lake.table import WriteTarget

_WORTH_A_WORKER = 4 << 20
_MAX_EMPTY = 200


@dataclass
class FilesSource:
    """Files that match `pattern` below `root`; `format` by suffix if None. `before` is called before they are listed.

    Holds worker processes until `close`, unless it is given `workers`, which stay with their owner.
    """

    name: str
    contract: Contract
    root: Path
    pattern: str
    format: str | None = None
    limits: Limits = field(default_factory=Limits)
    workers: Workers | None = None
    before: Callable[[], None] | None = None
    position: ClassVar[pa.Schema] = IN_FILE
    counts: ClassVar[str] = "files"

    def __post_init__(self) -> None:
        require_text_form(self.contract, self.format or format_of(self.pattern, None) or "")
        self._workers = self.workers or Workers(self.limits.workers, self.limits.worker_memory)

    def join(self) -> bool:
        """Files are not shared."""
        return False

    def pending(self, consumed: Consumed) -> Pending:
        """Files whose names the table does not know. One whose content changed under its name is ignored, and said."""
        if self.before is not None:
            self.before()
        known = consumed_versions(consumed)
        new: list[FileJob] = []
        ignored: list[Ignored] = []
        for each in list_files(self.root, self.pattern):
            version = known.get(each.name)
            if version is not None:
                if not is_same(each, version):
                    ignored.append(Ignored(each.name, CHANGED))
            elif kind := format_of(each.name, self.format):
                new.append(_job(each, kind))
            else:
                ignored.append(Ignored(each.name, "its format cannot be told from its name: set 'format'"))
        return Pending(_batches(new, self.limits), tuple(ignored), consumed.offsets.get("files", 0))

    def prepare(self, batch: Batch) -> None:
        """Start as many workers as the batch is worth."""
        self._workers.warm(len(_shared_out(batch, self.limits)), DECODE)

    def stage(self, batch: Batch, target: WriteTarget, before: Mapping[str, Any], run: Run) -> StagedBatch:
        """Decode the batch's files in worker processes. A file that is still being written is left for later."""
        jobs = [
            Job(files, self.contract.text, self.limits, run.now, target) for files in _shared_out(batch, self.limits)
        ]
        done = run_jobs(self._workers, jobs)
        taken = sorted((each for each in done.files if not each.problem), key=lambda each: each.name)
        rejected = rejected_table(taken, (self.name, target.name, self.contract.schema_id), run)
        return StagedBatch(
            add=done.data,
            rejected=rejected,
            units=tuple(unit_of(each.name, each.version) for each in taken),
            offsets=_offsets(before, taken),
            details={"files": [[each.name, each.version, each.accepted] for each in taken]},
            written=sum(each.accepted for each in taken),
            quarantined=sum(reject.records for each in taken for reject in each.rejects),
            ignored=tuple(Ignored(each.name, each.problem) for each in done.files if each.problem),
        )

    def acknowledge(self, offsets: Mapping[str, Any]) -> None:
        """Files keep no position of their own."""

    def replay(self, records: pa.Table, target: WriteTarget, run: Run) -> Replayed:
        """From the file where it is still as it was, else from complete raw bytes of a JSON line."""
        entries = entries_of(records)
        jobs = to_jobs(entries, self.root, self.format)
        tried = {each.name: each for each in self._decode(jobs, None, run).files}
        good = good_entries(entries, tried)
        lost = [each for each in entries if each.name in tried and tried[each.name].problem]
        add, written = [], 0
        if good:
            done = self._decode(to_jobs(good, self.root, self.format), target, run)
            add, written = [*done.data], sum(each.accepted for each in done.files)
        raw = self._replay_raw(lost, target, run)
        return Replayed((*(each.id for each in good), *raw.accepted), (*add, *raw.add), written + raw.written)

    def _replay_raw(self, lost: Sequence[Entry], target: WriteTarget, run: Run) -> Replayed:
        jobs = from_raw(lost, self.format)
        good = [
            entry
            for entry, job in jobs
            if (done := self._decode([job], None, run).files[0]).accepted == 1 and not done.rejects
        ]
        if not good:
            return Replayed(())
        chosen = [job for entry, job in jobs if entry in good]
        done = self._decode(chosen, target, run)
        return Replayed(tuple(each.id for each in good), done.data, len(good))

    def ahead(self, records: pa.Table, consumed: Consumed) -> frozenset[str]:
        """Entries of files that the next run would take."""
        new = {each.name for batch in self.pending(consumed).batches for each in batch.units}
        rows = records.select(["id", "source_file"]).to_pylist()
        return frozenset(row["id"] for row in rows if row["source_file"] in new)

    def close(self) -> None:
        """End the worker processes, if they are its own."""
        if self.workers is None:
            self._workers.close()

    def _decode(self, files: Iterable[FileJob], target: WriteTarget | None, run: Run) -> Any:
        job = Job(tuple(files), self.contract.text, self.limits, run.now, target)
        done = run_jobs(self._workers, [job] if job.files else [])
        if target is not None and any(each.problem for each in done.files):
            raise SourceError(f"files of source {self.name} changed while they were replayed", "try again")
        return done


def _job(each: Listed, kind: str) -> FileJob:
    return FileJob(each.name, each.path, kind, each.size)


def _batches(files: Sequence[FileJob], limits: Limits) -> tuple[Batch, ...]:
    """Files in the order of their names, closed at so many files or bytes."""
    batches: list[Batch] = []
    open_batch: list[FileJob] = []
    size = 0
    for each in files:
        if open_batch and (len(open_batch) >= limits.batch_files or size + each.size > limits.batch_bytes):
            batches.append(_batch(open_batch, size))
            open_batch, size = [], 0
        open_batch.append(each)
        size += each.size
    if open_batch:
        batches.append(_batch(open_batch, size))
    return tuple(batches)


def _batch(files: Sequence[FileJob], size: int) -> Batch:
    words = f"{len(files):,} new file{'s' if len(files) != 1 else ''}, {size / 1e6:,.1f} MB"
    return Batch(tuple(files), len(files), words)


def _shared_out(batch: Batch, limits: Limits) -> list[tuple[FileJob, ...]]:
    """The batch in as many parts as are worth a worker each, of about the same size."""
    count = min(limits.workers, len(batch.units), 1 + sum(each.size for each in batch.units) // _WORTH_A_WORKER)
    parts: list[list[FileJob]] = [[] for _ in range(count)]
    sizes = [0] * count
    for each in sorted(batch.units, key=lambda each: (-each.size, each.name)):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(each)
        sizes[smallest] += each.size
    return [tuple(sorted(part, key=lambda each: each.name)) for part in parts]


def _offsets(before: Mapping[str, Any], taken: Sequence[FileDone]) -> Mapping[str, Any]:
    """How many files were consumed ever, and which of the latest left no row that could tell of them."""
    empty = {**before.get("empty", {}), **{each.name: each.version for each in taken if not each.accepted}}
    latest = dict(list(empty.items())[-_MAX_EMPTY:])
    count = before.get("files", 0) + len(taken)
    return {"files": count, "empty": latest} if latest else {"files": count}
