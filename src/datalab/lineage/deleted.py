"""Rows that an upsert deleted: they are kept as tombstones, which no reader sees, and tell when that was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from datalab.lineage.descent import Descent
from datalab.lineage.events import DELETE
from datalab.lineage.flows import shown
from datalab.lineage.rows import PARENT, Search, Standing, links_of
from datalab.lineage.tree import Row
from datalab.names import TableName
from datalab.pipelines.cdc import DELETED, SEQUENCE
from datalab.pipelines.model import AutoCdc


def deletion(descent: Descent, table: Standing, wanted: pa.Table) -> tuple[str, str]:
    """Of wanted rows that are not there: when they were deleted, and by which records; empty where they were not."""
    cdc = _deleting(descent, table.state.name)
    schema = table.relation.schema
    if cdc is None or not {DELETED, SEQUENCE} <= set(schema.names):
        return "", ""
    plain = pa.schema([field for field in schema if field.name != DELETED])  # without it all rows are read
    every = replace(table, relation=replace(table.relation, schema=plain))
    order = descent.flows.identity(table.state.name)
    found = descent.tables.find(every, Search(links_of(wanted), wanted, (), order, descent.limit))
    total, last = sum(found.totals.values()), max(found.rows.column(SEQUENCE).to_pylist(), default=None)
    if not total:
        return "", ""
    what = "it was deleted" if total == 1 else f"{total:,} such rows were deleted, the last"
    records = [*dict.fromkeys(_records(descent.below(every, found.rows.drop_columns([PARENT]))))]
    return f"{what} at {shown(cdc.sequence_by)} {last}", f"deleted by {', '.join(records)}" if records else ""


def _deleting(descent: Descent, table: TableName) -> AutoCdc | None:
    """How rows are deleted from a table; None where none are, or where their versions stay."""
    known = (node.flow.cdc for node in descent.flows.into(table))
    return next((cdc for cdc in known if cdc and cdc.delete_when is not None and cdc.scd_type == 1), None)


def _records(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        for read in row.reads:
            yield from (event.position for event in read.rows if event.status == DELETE and event.position)
