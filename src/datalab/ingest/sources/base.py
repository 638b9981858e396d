"""The source port: where records come from, what a table has not consumed yet, and how that becomes data files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from datalab.events import Event
from datalab.ingest.contracts import Contract
from datalab.ingest.produced import Produced
from datalab.lake.table import DataFile, WriteTarget


@dataclass(frozen=True)
class Run:
    """The run that ingests; `now` becomes the rows' ingestion_timestamp."""

    run_id: str
    now: datetime


@dataclass(frozen=True)
class Consumed:
    """What the target table says that it has consumed of a source. Nothing else is known, and nothing else counts.

    `offsets` are those of the flow's last position, `details` those of its commits that still exist, oldest first.
    `rows` answers the distinct `source_file, source_version` of the table's rows; it reads data, so it is called only
    where commits have expired. Never of quarantine: its commit comes before the table's, and may stand alone.
    """

    offsets: Mapping[str, Any] = field(default_factory=dict)
    details: tuple[Mapping[str, Any], ...] = ()
    rows: Callable[[], pa.Table] | None = None


@dataclass(frozen=True)
class Batch:
    """What one commit is to consume: the source's own `units`, how many of them or of their records that is, in words.

    A commit may consume less of it, and says what is left.
    """

    units: tuple[Any, ...]
    count: int
    words: str


@dataclass(frozen=True)
class Ignored:
    """Something of a source that is not taken, and why."""

    unit: str
    reason: str


@dataclass(frozen=True)
class Pending:
    """What the table has not consumed, in the order in which it is taken, and what will not be taken.

    `consumed` is how many (of what batches count) the table has consumed; `events` is what else there is to tell.
    """

    batches: tuple[Batch, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    consumed: int = 0
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class StagedBatch:
    """A batch as data files that nobody sees yet. Counts are records: read = written + quarantined.

    `rejected` has QUARANTINE_SCHEMA; `units` names, as in its column `unit`, all that was consumed; `within` is the
    same as a condition over quarantine, where units cannot be listed. `offsets` is where the source stands once this
    is committed; `details` what this commit alone consumed; `rest` is what is left of the batch. `onto` answers the
    offsets to commit with where others have committed meanwhile, from those that the table has then; None where they
    consumed anything of this batch; without it, whoever else commits has been first. `produced` is when the records
    came into being, where that is known.
    """

    add: tuple[DataFile, ...]
    rejected: pa.Table
    units: tuple[str, ...]
    offsets: Mapping[str, Any]
    details: Mapping[str, Any]
    written: int = 0
    quarantined: int = 0
    ignored: tuple[Ignored, ...] = ()
    within: str = ""
    rest: Batch | None = None
    produced: Produced | None = None
    onto: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] | None = None


class Evolved(Exception):
    """Raised by `stage` and `replay` where records were written with more fields than the table has columns.

    The source's contract has them now: the table must grow, then the same is tried again.
    """


@dataclass(frozen=True)
class Replayed:
    """Quarantined entries decoded again: the ids that are good now, and the rows that they stand for, as data files."""

    accepted: tuple[str, ...]
    add: tuple[DataFile, ...] = ()
    written: int = 0


class Source(Protocol):
    """Records under one contract. Used by one thread at a time.

    Only the content of a record sends it to quarantine. Trouble with storage, network or memory of the machine raises
    an error, and then nothing that was staged is left behind.

    `position` are the columns that say where a row came from, `counts` is what batches count: files, records.
    """

    name: str
    contract: Contract
    position: ClassVar[pa.Schema]
    counts: ClassVar[str]

    def join(self) -> bool:
        """Told before records are followed without end, by this process and perhaps by others; may be repeated.

        True where the processes share the source from now on: `pending` names this one's part. False where it stays
        whole, and the table decides who was first.
        """

    def pending(self, consumed: Consumed) -> Pending:
        """What is there and not consumed. Changes nothing; opens data only where a file looks changed. SourceError."""

    def prepare(self, batch: Batch) -> None:
        """Told that a batch is about to be staged: what takes long to start may start. Reads and changes nothing."""

    def stage(self, batch: Batch, target: WriteTarget, before: Mapping[str, Any], run: Run) -> StagedBatch:
        """Decode a batch into data files; `before` are the offsets of the state that it will be committed against.

        May raise Evolved. What is left of a batch may be staged while the commit before it is under way: where that
        one fails, this one is let go of, and planned again.
        """

    def acknowledge(self, offsets: Mapping[str, Any]) -> None:
        """Told after the commit that carries `offsets` has landed, and never before; may be repeated.

        For sources that keep positions of their own for others to see; the table stays the truth.
        """

    def replay(self, records: pa.Table, target: WriteTarget, run: Run) -> Replayed:
        """Decode quarantined entries (QUARANTINE_SCHEMA) again, from the source or from their raw bytes.

        An entry is good only if every record that it stands for is. May raise Evolved.
        """

    def ahead(self, records: pa.Table, consumed: Consumed) -> frozenset[str]:
        """Ids of quarantined entries (QUARANTINE_SCHEMA) that the table has not consumed yet: their time will come."""

    def close(self) -> None:
        """End processes and connections. Safe to call twice."""
