"""What people do with quarantined records: look at them, discard them, mark them as replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from datalab.engine.base import Engine, Query, ReplaceGroups, Work
from datalab.errors import QuarantineError
from datalab.lake.lake import Lake
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, Relation, TableState
from datalab.names import TableName
from datalab.quality.quarantine import QUARANTINE, QUARANTINE_SCHEMA
from datalab.quality.replay import undone

Status = Literal["open", "replayed", "discarded"]
_ORDER = ("target", "unit", "source_row", "id")


@dataclass(frozen=True)
class Selection:
    """Which records: by ids, target and reason, all optional; `status` empty means any."""

    ids: tuple[str, ...] = ()
    target: TableName | None = None
    reason: str = ""
    status: Status | Literal[""] = "open"
    limit: int | None = None


def summary(lake: Lake, engine: Engine, now: datetime) -> pa.Table:
    """Rows `target, reason, status, entries, records, oldest, newest`, the largest first."""
    counts = [
        exp.alias_(exp.Count(this=exp.Star()), "entries"),
        exp.alias_(exp.Sum(this=exp.column("records")), "records"),
        exp.alias_(exp.Min(this=exp.column("quarantined_at")), "oldest"),
        exp.alias_(exp.Max(this=exp.column("quarantined_at")), "newest"),
    ]
    keys = ("target", "reason", "status")
    tree = exp.select(*keys, *counts).from_("present").group_by(*keys).order_by("entries DESC", *keys)
    return engine.read(Query(tree, {"present": _present(lake)}, now, "quarantine")).read_all()


def find(lake: Lake, engine: Engine, selection: Selection, now: datetime) -> pa.Table:
    """The selected records, whole, in order of target and position. QuarantineError for an id that is not there."""
    tree = exp.select("*").from_("present").where(*_conditions(selection)).order_by(*_ORDER)
    if selection.limit is not None:
        tree = tree.limit(selection.limit)
    found = engine.read(Query(tree, {"present": _present(lake)}, now, "quarantine")).read_all()
    missing = sorted(set(selection.ids) - set(found.column("id").to_pylist()))
    if missing:
        state = f" with status '{selection.status}'" if selection.status else ""
        raise QuarantineError(f"no quarantined record {missing[0]}{state}", "datalab quarantine show lists the ids")
    return found


def resolve(lake: Lake, engine: Engine, records: pa.Table, status: Status, run_id: str, now: datetime) -> int:
    """Give records a new status, keeping all else; answers how many. Doing it again changes nothing more."""
    if records.num_rows == 0:
        return 0
    changed = _with_status(records, status, now)
    rows = Query(exp.select("*").from_("changed"), {"changed": Relation(QUARANTINE_SCHEMA, memory=changed)}, now)
    ids = Query(exp.select("id").from_("changed"), rows.relations, now)

    def change(state: TableState) -> Change:
        staged = engine.stage(Work(rows, state.target(), ReplaceGroups(("id",), ids), current=lake.files(state)))
        details = {"status": status, "records": changed.num_rows}
        provenance = Provenance(run_id, f"quarantine {status}", "replace_groups", details=details)
        return staged.change(replace(provenance, read=staged.read, written=staged.written))

    lake.commit_rebased(QUARANTINE, change)
    return int(changed.num_rows)


def reopen(lake: Lake, engine: Engine, target: TableName, run_id: str, now: datetime) -> int:
    """Open the records again whose replay a restore of their table went back behind; answers how many."""
    gone = undone(lake, lake.require(target))
    if not gone:
        return 0
    replayed = find(lake, engine, Selection(target=target, status="replayed"), now)
    records = replayed.filter(pc.is_in(replayed.column("id"), pa.array(sorted(gone), pa.string())))
    return resolve(lake, engine, records, "open", run_id, now)


def _with_status(records: pa.Table, status: Status, now: datetime) -> pa.Table:
    table = records.select(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)
    count = table.num_rows
    moments = [None if status == "open" else now] * count
    values = {"status": pa.array([status] * count), "resolved_at": pa.array(moments, pa.timestamp("us", "UTC"))}
    for name, column in values.items():
        table = table.set_column(table.schema.get_field_index(name), QUARANTINE_SCHEMA.field(name), column)
    return table


def _present(lake: Lake) -> Relation:
    state = lake.state(QUARANTINE)
    if state is None:
        return Relation(QUARANTINE_SCHEMA)
    return lake.files(state)


def _conditions(selection: Selection) -> Sequence[exp.Expression]:
    wanted: list[exp.Expression] = []
    if selection.ids:
        wanted.append(exp.column("id").isin(*selection.ids))
    if selection.target is not None:
        wanted.append(exp.column("target").eq(str(selection.target)))
    if selection.reason:
        wanted.append(exp.column("reason").eq(selection.reason))
    if selection.status:
        wanted.append(exp.column("status").eq(selection.status))
    return wanted
