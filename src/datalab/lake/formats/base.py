"""The table format port: what Iceberg, Delta and any later format must do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datalab.errors import LakeError, SchemaConflict
from datalab.lake.formats.upkeep import Upkeep
from datalab.lake.table import Change, DataFile, Difference, Relation, Snapshot, TableSpec, TableState
from datalab.names import TableName

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class FormatCapabilities:
    """What a format can do; callers branch on these fields, never on the class.

    `widens`: a column of a table may get a wider type. `own_tags`: tags are the format's own, so that other readers
    know them. `marks`: rows of a file may be deleted by position, without writing the file again.
    """

    field_ids: bool
    partition_transforms: frozenset[str]
    widens: bool
    own_tags: bool
    marks: bool


class Overtaken(Exception):
    """Raised by `Format.commit` when, and only when, the table is known to have moved on: nothing was written."""


def require_live(state: TableState, live: Iterable[DataFile], wanted: Sequence[DataFile]) -> list[DataFile]:
    """The live files that `wanted` names, as the format itself knows them. LakeError where one is not live."""
    known = {file.key: file for file in live}
    missing = [file.path for file in wanted if file.key not in known]
    if missing:
        raise LakeError(f"{state.name} has no live file {missing[0]} at snapshot {state.snapshot}")
    return [known[file.key] for file in wanted]


def require_partition_columns(state: TableState, schema: pa.Schema) -> None:
    """SchemaConflict where a column that the table is split by would go or change its type."""
    for field in state.partition:
        if field.column not in schema.names or schema.field(field.column).type != state.schema.field(field.column).type:
            raise SchemaConflict(
                f"{state.name} is partitioned by {field.column}, which cannot go or change its type",
                "rebuild the table under another name",
            )


class Format(Protocol):
    """Tables of one open format in one warehouse. Thread-safe; every state it answers is immutable."""

    name: str
    capabilities: FormatCapabilities
    upkeep: Upkeep

    def names(self) -> tuple[TableName, ...]:
        """All tables, sorted."""

    def load(self, name: TableName) -> TableState | None:
        """The newest state, or None where there is no such table. Never opens a data file."""

    def define(self, name: TableName, spec: TableSpec) -> TableState:
        """Create the table, or bring an existing one to `spec`.

        The caller has made sure that `spec.schema` extends the present schema (lake/schema.py); partition fields of
        an existing table stay. Transforms outside `capabilities.partition_transforms` are left out.
        """

    def reshape(self, state: TableState, schema: pa.Schema) -> TableState:
        """The state as it is with exactly these columns; nothing is written.

        A commit against it must remove every live file, and changes the columns in the same step. Partition columns
        stay: SchemaConflict.
        """

    def files(self, state: TableState, snapshot: int | None = None) -> Relation:
        """The live data at a snapshot (default: the state's own), schema of that snapshot. SnapshotNotFound."""

    def diff(self, state: TableState, since: int | None, until: int) -> Difference:
        """Net difference of live files between two snapshots; cost follows the change where the format allows."""

    def history(self, state: TableState) -> tuple[Snapshot, ...]:
        """All snapshots that still exist, oldest first."""

    def commit(self, state: TableState, change: Change) -> TableState:
        """Commit against exactly `state`. Overtaken if it is outdated; any other error means: unknown.

        Never retries by itself. `change.provenance` is stored in the same commit, its positions also where they
        survive the expiry of snapshots.
        """
