"""What a Delta table says of itself, as the lake's values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datalab.lake.formats.delta_handle import Handle
from datalab.lake.formats.delta_log import checkpoint_positions, entry_path, last_checkpoint, read_entries
from datalab.lake.formats.traces import DELTA_LOG
from datalab.lake.schema import normalise
from datalab.lake.table import PartitionField, TableState
from datalab.names import TableName

if TYPE_CHECKING:
    from deltalake import DeltaTable


def table_state(name: TableName, root: Path, table: DeltaTable) -> TableState:
    """The state of a table at the version of its handle."""
    log, newest = root / DELTA_LOG, table.version()
    snapshot, head, seen = None, None, newest + 1
    for entry in read_entries(log, newest):
        seen = entry.version
        snapshot = entry.version if snapshot is None and entry.is_snapshot else snapshot
        head = entry.provenance
        if head is not None:
            break
    cleaned = head is None and seen > 0
    metadata = table.metadata()
    return TableState(
        name=name,
        format="delta",
        location=str(root),
        schema=arrow_schema(table),
        snapshot=newest if snapshot is None and cleaned else snapshot,
        partition=tuple(PartitionField(column) for column in metadata.partition_columns),
        comment=metadata.description or "",
        properties=dict(metadata.configuration),
        positions=head.positions if head is not None else checkpoint_positions(log) if cleaned else {},
        handle=Handle(str(root), table),
    )


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The schema in the lake's types."""
    fields: Any = table.schema().to_arrow()
    return normalise(pa.schema(fields))


def is_newest(stamp: int, state: TableState) -> bool:
    """Whether the log still ends with the commit of this state; `stamp` is the time of that file."""
    log, version = Path(state.location) / DELTA_LOG, state.handle.version()
    try:
        same = entry_path(log, version).stat().st_mtime_ns == stamp
    except FileNotFoundError:
        return False
    return same and is_head(log, version)


def is_head(log: Path, version: int) -> bool:
    """Whether no later version is known. The commit after it may have been cleaned away: then a checkpoint is later."""
    return not entry_path(log, version + 1).exists() and last_checkpoint(log) <= version
