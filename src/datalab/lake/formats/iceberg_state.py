"""What Iceberg metadata says, as the lake's values: the state of a table and its history. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

from datalab.lake.formats.iceberg_schema import partition_fields, to_arrow
from datalab.lake.formats.traces import other_warehouse
from datalab.lake.provenance import PROVENANCE_KEY, Position, Provenance
from datalab.lake.table import Snapshot, TableState
from datalab.names import TableName

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

POSITIONS_KEY = "datalab.positions"
HEAD_KEY = "datalab.head"
BACK_KEY = "datalab.rows-back"  # in the summary: rows of files that stay, which were deleted before
COMMENT_KEY = "comment"
_OURS = frozenset({POSITIONS_KEY, HEAD_KEY, COMMENT_KEY})
_FOREIGN = {Operation.APPEND: "append", Operation.REPLACE: "compact"}


def table_state(name: TableName, table: Table, warehouse: str) -> TableState:
    """The state of a table, which a catalog at `warehouse` names, as its newest metadata has it."""
    metadata = table.metadata
    schema, properties = metadata.schema(), metadata.properties
    return TableState(
        name=name,
        format="iceberg",
        location=metadata.location,
        data_location=properties.get("write.data.path", f"{metadata.location.rstrip('/')}/data"),
        schema=to_arrow(schema),
        snapshot=metadata.current_snapshot_id,
        partition=partition_fields(metadata.spec(), schema),
        comment=properties.get(COMMENT_KEY, ""),
        properties={key: value for key, value in properties.items() if key not in _OURS},
        positions=_positions(properties),
        marks=metadata.format_version == 2,
        elsewhere=other_warehouse(metadata.location, warehouse),
        handle=table,
    )


def marks(provenance: Provenance) -> dict[str, str]:
    """The table properties that a commit leaves behind."""
    positions = {flow: vars(position) for flow, position in provenance.positions.items()}
    return {
        POSITIONS_KEY: json.dumps(positions, separators=(",", ":"), default=dict),
        HEAD_KEY: provenance.to_json(),
    }


def lineage(metadata: TableMetadata) -> tuple[tuple[IcebergSnapshot, bool], ...]:
    """The snapshots that led to the current one, oldest first, and whether some between it and the last are gone.

    A snapshot whose parents have expired has no parent any more; the log of snapshots tells which came before.
    """
    known = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    found: list[tuple[IcebergSnapshot, bool]] = []
    logged = [known[entry.snapshot_id] for entry in metadata.snapshot_log if entry.snapshot_id in known]
    present = known.get(metadata.current_snapshot_id or 0)
    while present is not None:
        parent = known.get(present.parent_snapshot_id or 0)
        before = parent or _last_before(present, logged)
        found.append((present, parent is None and before is not None))
        present = before
    return tuple(reversed(found))


def _last_before(snapshot: IcebergSnapshot, logged: list[IcebergSnapshot]) -> IcebergSnapshot | None:
    while logged:
        last = logged.pop()
        if (last.sequence_number or 0) < (snapshot.sequence_number or 0):
            return last
    return None


def to_snapshot(snapshot: IcebergSnapshot, *, after_gap: bool = False) -> Snapshot:
    """One entry of the history."""
    summary = snapshot.summary or Summary(Operation.OVERWRITE)
    record = summary.additional_properties.get(PROVENANCE_KEY)
    provenance = Provenance.from_json(record) if record else None
    came, went = _rows(summary)
    return Snapshot(
        id=snapshot.snapshot_id,
        at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        operation=provenance.kind if provenance else _FOREIGN.get(summary.operation, "foreign"),
        rows_added=came,
        rows_removed=went,
        rows_total=_count(summary, "total-records") - _count(summary, "total-position-deletes"),
        provenance=provenance,
        sequence=snapshot.sequence_number or snapshot.timestamp_ms,  # format version 1 has no sequence numbers
        files_added=_count(summary, "added-data-files"),
        files_removed=_count(summary, "deleted-data-files"),
        bytes_added=_count(summary, "added-files-size"),
        bytes_removed=_count(summary, "removed-files-size"),
        after_gap=after_gap,
    )


def _rows(summary: Summary) -> tuple[int, int]:
    """Rows that came and that went. A file that goes takes its deletes along, whose rows had gone before."""
    back = _count(summary, BACK_KEY)
    taken_along = _count(summary, "removed-position-deletes") - back
    went = _count(summary, "deleted-records") - taken_along + _count(summary, "added-position-deletes")
    return _count(summary, "added-records") + back, max(0, went)


def _positions(properties: Mapping[str, str]) -> dict[str, Position]:
    record = json.loads(properties.get(POSITIONS_KEY, "{}"))
    return {flow: Position(**position) for flow, position in record.items()}


def _count(summary: Summary, key: str) -> int:
    return int(summary.additional_properties.get(key, 0))
