"""Values that describe a table: its declaration, its state at a snapshot, its data files, and a change to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from datalab.errors import InvalidSetting, LakeError
from datalab.lake.layout import cluster_of, file_rows_of, mark_rows_of
from datalab.lake.provenance import Position, Provenance
from datalab.names import TableName

if TYPE_CHECKING:
    import pyarrow as pa

_TRANSFORM = re.compile(r"(?:(years|months|days|hours)\s*\(\s*(\w+)\s*\)|(\w+))\Z")


@dataclass(frozen=True)
class PartitionField:
    """A column that splits the table into folders; `transform` is identity, years, months, days or hours."""

    column: str
    transform: str = "identity"

    def __str__(self) -> str:
        return self.column if self.transform == "identity" else f"{self.transform}({self.column})"

    @classmethod
    def parse(cls, text: str) -> PartitionField:
        """Read `column` or `months(column)`; raise InvalidSetting for anything else."""
        match = _TRANSFORM.match(text.strip())
        if not match:
            raise InvalidSetting(
                f"'{text}' is not a partition field", "write a column, or years|months|days|hours(column)"
            )
        transform, inner, plain = match.groups()
        return cls(inner or plain, transform or "identity")


@dataclass(frozen=True)
class TableSpec:
    """What a table is declared to be. All timestamps are UTC microseconds."""

    schema: pa.Schema
    partition: tuple[PartitionField, ...] = ()
    comment: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """A small Parquet file with the positions (columns `file_path`, `pos`) of rows of one data file."""

    path: str
    rows: int
    size: int
    handle: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class DataFile:
    """One immutable Parquet file of a table.

    Its rows at the positions in `gone` are deleted; `rows` counts those that are left. Where `only` has anything, it
    stands for no other rows than those at these positions: such a file is part of a difference, never of a table.
    `partition` holds the transformed value of each partition field, in order (months: months since 1970-01, int).
    `lower` and `upper` bound the values of top-level columns where known; bounds of long strings may be truncated,
    but always contain every value. `older`: `partition` is of a layout that the table no longer has.
    `handle` is the format's own object, never compared and not kept when pickled.
    """

    path: str
    rows: int
    size: int
    partition: tuple[Any, ...] = ()
    lower: Mapping[str, Any] = field(default_factory=dict, compare=False)
    upper: Mapping[str, Any] = field(default_factory=dict, compare=False)
    nulls: Mapping[str, int] = field(default_factory=dict, compare=False)
    handle: Any = field(default=None, compare=False, repr=False)
    gone: tuple[Marks, ...] = ()
    only: tuple[Marks, ...] = ()
    older: bool = field(default=False, compare=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What tells the same rows: the path, and those of its marks."""
        return (self.path, *sorted(marks.path for marks in self.gone))

    @property
    def paths(self) -> tuple[str, ...]:
        """All files that have to be there for its rows to be read."""
        return (self.path, *(marks.path for marks in (*self.gone, *self.only)))


@dataclass(frozen=True)
class Relation:
    """Rows that a query may read under a table's name: data files, or an Arrow table in memory.

    `schema` is the table's schema at that snapshot (with field ids as `PARQUET:field_id` metadata where the format
    has them). `scan` is set where the files cannot be read as they are (row-level deletes, foreign layouts): it
    answers a pyarrow RecordBatchReader of the rows, and the engine must use it instead of `files`.
    Columns that start with `__` are internal: hidden from `SELECT *`.
    `located`: a query of the files may ask for `__file`, the path that a row was read from, and for `__row`, its number
    there, from 0.
    """

    schema: pa.Schema
    files: tuple[DataFile, ...] = ()
    memory: pa.Table | None = None
    scan: Callable[[], pa.RecordBatchReader] | None = field(default=None, compare=False)
    located: bool = False

    @property
    def rows(self) -> int:
        """Rows in the files (before any deletes that only a `scan` knows) or in memory."""
        return self.memory.num_rows if self.memory is not None else sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Difference:
    """Data files, or the rows of files, that are live at the later of two snapshots only, and at the earlier only."""

    added: Relation
    removed: Relation


@dataclass(frozen=True)
class Snapshot:
    """One commit in a table's history. `operation` is the provenance's kind, or `foreign` for other writers.

    `sequence` grows from commit to commit of a table; ids of snapshots need not.
    `after_gap`: snapshots between this one and the one before it in the history are gone. Sizes are bytes.
    """

    id: int
    at: datetime
    operation: str
    rows_added: int
    rows_removed: int
    rows_total: int
    provenance: Provenance | None = None
    sequence: int = 0
    files_added: int = 0
    files_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    after_gap: bool = False


@dataclass(frozen=True)
class WriteTarget:
    """All that an engine needs to write data files for a table; plain values, so it can cross processes.

    `location` is the folder for new data files, a plain path or a URI; it need not exist yet.

    `compression` is Parquet's: zstd for what is read often, snappy where writing must be quick. New files follow the
    order of the columns in `cluster`, and hold about `file_rows` rows; where that is 0, their size decides. Files with
    at least `mark_rows` rows need not be written again for few rows that leave them: see Marking. 0: all are.
    """

    name: TableName
    location: str
    schema: pa.Schema
    partition: tuple[PartitionField, ...] = ()
    compression: str = "zstd"
    cluster: tuple[str, ...] = ()
    file_rows: int = 0
    mark_rows: int = 0


@dataclass(frozen=True)
class Rewriting:
    """Rows of one partition to be written again as they are, internal columns and all, sorted by `order`.

    `file_size` is the aim for one file, in bytes.
    """

    target: WriteTarget
    rows: Relation
    partition: tuple[Any, ...]
    order: tuple[str, ...]
    file_size: int


@dataclass(frozen=True)
class TableState:
    """A table as it was read: the state that a commit is compared with.

    `snapshot` is None before the first commit. `positions` says where each flow into the table stands.
    `schema` includes internal columns. New data files go into the folder `data_location`, or into `location` where
    it is empty. `marks`: rows of its files may be deleted by position. `elsewhere`: another warehouse that it lies in,
    with a catalog of its own; such a table is only read. `handle` belongs to the format.
    """

    name: TableName
    format: str
    location: str
    schema: pa.Schema
    snapshot: int | None = None
    partition: tuple[PartitionField, ...] = ()
    comment: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    positions: Mapping[str, Position] = field(default_factory=dict)
    data_location: str = ""
    marks: bool = False
    elsewhere: str = ""
    handle: Any = field(default=None, compare=False, repr=False)

    def target(self) -> WriteTarget:
        """Where and how to write data files for this state. LakeError where that is for another project to do."""
        self.require_own()
        return WriteTarget(
            self.name,
            self.data_location or self.location,
            self.schema,
            self.partition,
            cluster=cluster_of(self.properties, self.schema.names),
            file_rows=file_rows_of(self.properties),
            mark_rows=mark_rows_of(self.properties) if self.marks else 0,
        )

    def same_layout(self, other: TableState) -> bool:
        """Whether what was staged for this state can be committed onto another one."""
        return (self.schema, self.partition, self.location) == (other.schema, other.partition, other.location)

    def require_own(self) -> None:
        """LakeError for a table of another warehouse: the maintenance there would not know of our commits."""
        if self.elsewhere:
            raise LakeError(
                f"{self.name} lies in another warehouse, {self.elsewhere}: from here it can be read, not written",
                "the tables of a copied folder name the original's files by absolute paths: "
                "work in the original, or let lake.warehouse be an empty folder",
            )


@dataclass(frozen=True)
class RowChanges:
    """The rows that a change brings and takes away, where it also writes rows again that were there before.

    `copies` are the paths of added files that hold such rows; every other added file holds new rows alone. `entered`
    are side files with the new rows of the copies, `left` with the rows that are gone: see lake/beside.py.
    """

    entered: tuple[DataFile, ...] = ()
    left: tuple[DataFile, ...] = ()
    copies: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The side files."""
        return (*self.entered, *self.left)


@dataclass(frozen=True)
class Marking:
    """A live file that stays, and all the marks that it has from now on.

    `joined`: the fresh ones hold the positions of those that it has no more, too.
    """

    file: DataFile
    gone: tuple[Marks, ...]
    joined: bool = False

    @property
    def fresh(self) -> tuple[Marks, ...]:
        """The marks that it has not had before."""
        return tuple(marks for marks in self.gone if marks not in self.file.gone)

    @property
    def lifted(self) -> tuple[Marks, ...]:
        """The marks that it has no more."""
        return tuple(marks for marks in self.file.gone if marks not in self.gone)

    @property
    def went(self) -> int:
        """Rows that are gone, and were not before."""
        return sum(marks.rows for marks in self.fresh) - (
            sum(marks.rows for marks in self.lifted) if self.joined else 0
        )

    @property
    def back(self) -> int:
        """Rows that were gone before, and are there again."""
        return 0 if self.joined else sum(marks.rows for marks in self.lifted)


def reads_nothing(_: Relation) -> bool:
    """What `Change.meets` is for a change that looks at no row of its table."""
    return False


@dataclass(frozen=True)
class Change:
    """A set of data files to add and to remove, and the provenance that is committed with it.

    `marked`: files that stay without some of their rows; only where the state says `marks`. `beside` are files of our
    own that the provenance names. `whole`: all rows of the table leave, whichever there are. `meets` tells whether any
    of some rows that came to the table meanwhile is one that it would have looked at; None: it has looked at them all.
    """

    provenance: Provenance
    add: tuple[DataFile, ...] = ()
    remove: tuple[DataFile, ...] = ()
    beside: tuple[DataFile, ...] = ()
    marked: tuple[Marking, ...] = ()
    whole: bool = False
    meets: Callable[[Relation], bool] | None = field(default=None, compare=False, repr=False)

    @property
    def fresh_paths(self) -> tuple[str, ...]:
        """The files that have to be on the disk before the commit."""
        marks = (each.path for marking in self.marked for each in marking.fresh)
        return (*(file.path for file in (*self.add, *self.beside)), *marks)

    def is_of(self, live: Iterable[DataFile]) -> bool:
        """Whether all that it removes or marks is live, with the rows that it was read with."""
        touched = {file.key for file in (*self.remove, *(marking.file for marking in self.marked))}
        return not touched or touched <= {file.key for file in live}
