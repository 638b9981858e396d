"""Quarantine: a lake table with each record that could not be accepted, why, where it came from, and its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from datalab.engine.base import Engine, Query, ReplaceGroups, Work
from datalab.lake.lake import Lake
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, DataFile, Relation, TableSpec, TableState
from datalab.names import TableName
from datalab.plugins import deferred

if TYPE_CHECKING:
    import sqlglot
    from sqlglot import exp
else:
    sqlglot, exp = deferred("sqlglot"), deferred("sqlglot.expressions")

QUARANTINE = TableName("ops", "quarantine")
_TIMESTAMP = pa.timestamp("us", tz="UTC")

# `unit` is the granule in which the target consumes its source (a file, a range of offsets, a range of snapshots):
# consuming a unit again replaces its open records as a whole. `records` is how many source records an entry stands
# for (1; more where a damaged block hides their borders). `raw` may be cut, `raw_size` is the whole.
QUARANTINE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("quarantined_at", _TIMESTAMP),
        ("run_id", pa.string()),
        ("target", pa.string()),
        ("flow", pa.string()),
        ("unit", pa.string()),
        ("source", pa.string()),
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
        ("source_topic", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        ("records", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("schema_id", pa.string()),
        ("raw", pa.binary()),
        ("raw_size", pa.int64()),
        ("row", pa.string()),
        ("status", pa.string()),
        ("resolved_at", _TIMESTAMP),
    ]
)


def record_id(target: TableName, *position: object) -> str:
    """The id of a quarantined record, the same each time the same position is read for the same target."""
    text = "\x1f".join([str(target), *map(str, position)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def total_records(entries: pa.Table) -> int:
    """How many source records quarantine entries stand for."""
    total: int | None = pc.sum(entries.column("records")).as_py()
    return total or 0


@dataclass(frozen=True)
class Rejected:
    """What one attempt to consume some units of a source set aside, for one target and flow.

    `rows` has QUARANTINE_SCHEMA. `units` are all units of the attempt, those without a rejected row too: whatever an
    earlier attempt left for them is replaced. `units` None: the attempt covers everything the flow ever consumed.
    `within` is a condition (Spark dialect) over the quarantine's columns that tells what the attempt covers besides.
    """

    target: TableName
    flow: str
    rows: pa.Table
    units: tuple[str, ...] | None = ()
    within: str = ""


def set_aside(lake: Lake, engine: Engine, rejected: Rejected, run_id: str, now: datetime) -> None:
    """Commit rejected records to the quarantine, each once, however often the same units are consumed.

    The commit names target, flow and run, and comes before the target's own: after a kill in between, the next
    attempt at the same units replaces what this one wrote. No commit where there is nothing to write or replace.
    """

    if not _ensure_table(lake, rejected):
        return

    def change(state: TableState) -> Change | None:
        current = lake.files(state)
        if _is_nothing(rejected, current):
            return None
        staged = engine.stage(_replacement(rejected, state, current, now))
        if not staged.add and not staged.remove and not staged.marked:
            return None
        details = {"target": str(rejected.target), "units": len(rejected.units or ())}
        provenance = Provenance(
            run_id, rejected.flow, "replace_groups", details=details, read=staged.read, written=staged.written
        )
        return staged.change(provenance)

    lake.commit_rebased(QUARANTINE, change)


def _is_nothing(rejected: Rejected, current: Relation) -> bool:
    """Whether there is nothing to write, and by the bounds of the files nothing to replace."""
    units = rejected.units
    if rejected.rows.num_rows or units is None or rejected.within or current.scan is not None:
        return False
    target = str(rejected.target)
    return not units or not any(
        _may_hold(file, "target", target, target) and _may_hold(file, "unit", min(units), max(units))
        for file in current.files
    )


def _may_hold(file: DataFile, column: str, lowest: str, highest: str) -> bool:
    lower, upper = file.lower.get(column), file.upper.get(column)
    return lower is None or upper is None or (lower <= highest and lowest <= upper)


def _ensure_table(lake: Lake, rejected: Rejected) -> bool:
    if lake.state(QUARANTINE) is not None:
        return True
    if rejected.rows.num_rows == 0:
        return False
    lake.define(QUARANTINE, TableSpec(QUARANTINE_SCHEMA, comment="Records that could not be accepted, and why"))
    return True


def _replacement(rejected: Rejected, state: TableState, current: Relation, now: datetime) -> Work:
    rows = _over("SELECT * FROM rejected", "rejected", rejected.rows, now)
    touched = _touched(rejected, current, now)
    return Work(rows, state.target(), ReplaceGroups(("target", "unit"), touched), current=current)


def _touched(rejected: Rejected, current: Relation, now: datetime) -> Query:
    if rejected.units is None:
        tree = exp.select("target", "unit").distinct().from_("present")
        tree = tree.where(exp.column("target").eq(str(rejected.target)), exp.column("flow").eq(rejected.flow))
        return Query(tree, {"present": current}, now)
    if rejected.within:
        return _covered(rejected, current, now)
    schema = pa.schema([("target", pa.string()), ("unit", pa.string())])
    units = pa.table([[str(rejected.target)] * len(rejected.units), list(rejected.units)], schema=schema)
    return _over("SELECT target, unit FROM units", "units", units, now)


def _covered(rejected: Rejected, current: Relation, now: datetime) -> Query:
    tree = exp.select("target", "unit").from_("present")
    same = (exp.column("target").eq(str(rejected.target)), exp.column("flow").eq(rejected.flow))
    tree = tree.where(*same, sqlglot.parse_one(rejected.within, read="spark"))
    both = tree.union(exp.select("target", "unit").from_("rejected"))
    relations = {"present": current, "rejected": Relation(rejected.rows.schema, memory=rejected.rows)}
    return Query(both, relations, now, "quarantine")


def _over(sql: str, name: str, rows: pa.Table, now: datetime) -> Query:
    tree = sqlglot.parse_one(sql, read="spark", into=exp.Select)
    return Query(tree, {name: Relation(rows.schema, memory=rows)}, now, "quarantine")
