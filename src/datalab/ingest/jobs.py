"""What decoding workers are asked and what they answer: plain values that cross processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reject
from datalab.lake.table import DataFile, WriteTarget

DECODE = "datalab.ingest.work:decode_job"
COUNT = "datalab.ingest.work:count_job"
DESCRIBE = "datalab.ingest.work:describe_job"


@dataclass(frozen=True)
class FileJob:
    """A file to decode: `name` as the source knows it, `path` to open, `format` with `.gz` where compressed.

    `span` limits it to some units; `ranges` to some record numbers, of a file that still has `version`.
    `data` stands in for the file, its first record being number `first`.
    """

    name: str
    path: str
    format: str
    size: int = 0
    span: Span | None = None
    ranges: tuple[tuple[int, int], ...] | None = None
    version: str = ""
    data: bytes | None = None
    first: int = 0


@dataclass(frozen=True)
class Job:
    """Files for one worker under one contract (its text). Without a `target` nothing is written."""

    files: tuple[FileJob, ...]
    contract: str
    limits: Limits
    now: datetime
    target: WriteTarget | None = None


@dataclass(frozen=True)
class FileDone:
    """What became of a file. `problem` says why it was not taken at all, now: it may be taken later.

    `rows` has the numbers of accepted records, where only some ranges were asked for.
    """

    name: str
    version: str = ""
    accepted: int = 0
    rejects: tuple[Reject, ...] = ()
    problem: str = ""
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Done:
    """The answer to a job: each file, and the data files that hold all accepted records."""

    files: tuple[FileDone, ...]
    data: tuple[DataFile, ...] = ()


@dataclass(frozen=True)
class Unit:
    """One unit of a file: the number of its first record, how many records it stands for, its bytes (bounded)."""

    row: int
    records: int
    raw: bytes
    raw_size: int
    version: str = ""
