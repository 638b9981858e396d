"""The engine port: who computes. An engine stages data files for the lake to commit; nobody sees them before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from datalab.lake.table import Change, DataFile, Marking, Relation, Rewriting, RowChanges, WriteTarget

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from datalab.lake.provenance import Provenance


@dataclass(frozen=True)
class EngineCapabilities:
    """`stages_files`: hands data files back to the lake. Otherwise the engine writes the table itself."""

    stages_files: bool


@dataclass(frozen=True)
class Query:
    """A query in the Spark dialect as a parsed tree, and what its table names stand for.

    Keys of `relations` are the names as they stand in the tree: `layer.table`, or a single part. `now` is what
    current_timestamp() answers, fixed for a run. `origin` is file:line for messages.
    """

    tree: exp.Query
    relations: Mapping[str, Relation]
    now: datetime
    origin: str = ""


@dataclass(frozen=True)
class Check:
    """A condition over a written row, in the Spark dialect. A row passes where it IS TRUE; `action` warn|drop|fail."""

    name: str
    condition: exp.Expression
    action: Literal["warn", "drop", "fail"]


@dataclass(frozen=True)
class Append:
    """Add the rows."""


@dataclass(frozen=True)
class Replace:
    """The rows are the whole table from now on."""


@dataclass(frozen=True)
class Upsert:
    """Per key the row with the highest sequence stays, whatever order rows arrive in; ties: the greatest row.

    `sequence` is the name of a column of the query's result that the table keeps (internal: `__sequence`).
    Where the internal column `__deleted` is true the row is a tombstone: kept, hidden from readers.
    Rows of equal sequence are compared column by column in the table's order, NULL lowest; a row of the table wins
    against an equal one. Columns in `ignore_in_ties` (a time of processing) take no part in that comparison.
    """

    keys: tuple[str, ...]
    sequence: str
    ignore_in_ties: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """Per key all rows stay, as versions: each begins at its sequence and ends where the next one begins.

    The table has `__start_at` and `__end_at`, of the type of `sequence`, for that; the present version ends at NULL.
    Where the internal column `__closes` is true the row ends the version before it and is none itself. Following rows
    that are equal in all `tracked` columns are one version, with the values of the last of them. Rows that are no
    version are kept, hidden by `__deleted`, so that the versions do not depend on the order of arrival.
    Of rows of equal key and sequence one stays: see Upsert.
    """

    keys: tuple[str, ...]
    sequence: str
    tracked: tuple[str, ...]
    ignore_in_ties: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """Where rows of touched groups are in some data files: `rows` has `__file` and `__row`, from 0.

    They are all that these `files`, named by their paths, have of the groups, or had: some may be marked as gone.
    """

    rows: pa.Table
    files: frozenset[str]


@dataclass(frozen=True)
class ReplaceGroups:
    """Groups named by `touched` (a query answering the key columns) leave the table; the query's rows enter it.

    The query answers only rows of touched groups. `places`: those of these groups that are known already.
    """

    keys: tuple[str, ...]
    touched: Query
    places: Places | None = field(default=None, compare=False)


Mode = Append | Replace | Upsert | History | ReplaceGroups


@dataclass(frozen=True)
class Work:
    """One piece of staging: compute `query`, check each row, and write what passes for `target`.

    `current` is the live data of the target, for the modes that look at it. `record`: keep the rows that come and go
    in side files, where files are written again and the rows are few.
    """

    query: Query
    target: WriteTarget
    mode: Mode = Append()
    checks: tuple[Check, ...] = ()
    current: Relation | None = None
    record: bool = False


@dataclass(frozen=True)
class Staged:
    """Files that exist and that nobody sees yet. Counts are rows.

    `read`: rows that the query answered; read = written + rejected_rows + superseded. `rejected` holds the rows
    that failed a drop or fail check, with an extra BIGINT column `__failed`, a bit per check (bit i: checks[i]).
    `changes` is None where the rows that come and go were not recorded. `beside`: files of our own that the commit
    will name. `marked`: files of which some rows go, and the rest stays as it is. `whole` and `meets`: see Change.
    """

    add: tuple[DataFile, ...]
    remove: tuple[DataFile, ...] = ()
    read: int = 0
    written: int = 0
    superseded: int = 0
    rejected: Relation | None = None
    failed: Mapping[str, int] = field(default_factory=dict)
    changes: RowChanges | None = None
    beside: tuple[DataFile, ...] = ()
    marked: tuple[Marking, ...] = ()
    whole: bool = False
    meets: Callable[[Relation], bool] | None = field(default=None, compare=False, repr=False)

    @property
    def rejected_rows(self) -> int:
        """Rows set aside for quarantine."""
        return self.rejected.rows if self.rejected else 0

    def change(self, provenance: Provenance) -> Change:
        """What there is to commit."""
        beside = (*self.beside, *(self.changes.files if self.changes else ()))
        return Change(provenance, self.add, self.remove, beside, self.marked, self.whole, self.meets)


class Engine(Protocol):
    """Runs queries over relations. Thread-safe: independent steps run side by side."""

    @property
    def name(self) -> str:
        """What the settings call it."""

    @property
    def capabilities(self) -> EngineCapabilities:
        """What it can do."""

    def schema(self, query: Query) -> pa.Schema:
        """Type-check a query without reading data; answers its columns. PipelineTypeError, UntranslatableFunction."""

    def read(self, query: Query) -> pa.RecordBatchReader:
        """The query's rows, in batches."""

    def stage(self, work: Work) -> Staged:
        """Compute and write data files. On any error the files it wrote are removed. EngineError, StorageFull."""

    def rewrite(self, work: Rewriting) -> tuple[DataFile, ...]:
        """The same rows in new data files, which nobody sees yet. On any error the files it wrote are removed."""

    def discard(self, staged: Staged) -> None:
        """Remove the files of a staging that will not be committed, rejected rows included; never raises."""

    def close(self) -> None:
        """Release connections and temporary files; must be called before the interpreter ends."""
