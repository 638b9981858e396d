"""What is in each column of a table, counted into `ops.statistics`; a table that did not change is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from sqlglot import exp, parse_one

from datalab.engine.base import Engine, Query, Work
from datalab.errors import DataLabError
from datalab.lake.lake import Lake
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, Relation, TableSpec, TableState
from datalab.names import TableName

STATISTICS = TableName("ops", "statistics")
SCHEMA = pa.schema(
    [
        ("analyzed_at", pa.timestamp("us", tz="UTC")),
        ("table_name", pa.string()),
        ("snapshot", pa.int64()),
        ("column_name", pa.string()),
        ("type", pa.string()),
        ("rows", pa.int64()),
        ("nulls", pa.int64()),
        ("distinct_values", pa.int64()),
    ]
)
_COUNT = """
SELECT coalesce(sum(n), 0) AS rows, coalesce(sum(CASE WHEN value IS NULL THEN n ELSE 0 END), 0) AS nulls,
  count(value) AS distinct_values FROM (SELECT `{column}` AS value, count(*) AS n FROM t GROUP BY `{column}`) AS counted
"""


@dataclass(frozen=True)
class Analyzed:
    """The rows that went into `ops.statistics` for a table; none where its rows are those of the last time."""

    table: TableName
    snapshot: int | None
    columns: pa.Table
    waiting: bool = False
    error: DataLabError | None = None


def is_analyzed(lake: Lake, name: TableName) -> bool:
    """Whether the present rows of a table are those that were counted last. TableNotFound."""
    state, kept = lake.require(name), lake.state(STATISTICS)
    position = kept.positions.get(_flow(name)) if kept is not None else None
    if position is None:
        return state.snapshot is None
    history = lake.history(state)
    known = [snapshot.id for snapshot in history]
    counted = position.offsets.get("snapshot")
    later = history[known.index(counted) + 1 :] if counted in known else history
    return all(snapshot.operation == "compact" for snapshot in later)


def analyze(lake: Lake, engine: Engine, name: TableName, run_id: str, now: datetime) -> Analyzed:
    """Count rows, NULLs and distinct values of every plain column: one pass over each. TableNotFound."""
    state = lake.require(name)
    if is_analyzed(lake, name):
        return Analyzed(name, state.snapshot, SCHEMA.empty_table())
    rows = lake.files(state)
    plain = [field for field in state.schema if not (field.name.startswith("__") or pa.types.is_nested(field.type))]
    found = []
    for field in plain:
        tree = parse_one(_COUNT.format(column=field.name.replace("`", "``")), read="spark", into=exp.Select)
        (counts,) = engine.read(Query(tree, {"t": rows}, now, "analyze")).read_all().to_pylist()
        about = {"analyzed_at": now, "table_name": str(name), "snapshot": state.snapshot}
        found.append({**about, "column_name": field.name, "type": str(field.type), **counts})
    columns = pa.Table.from_pylist(found, schema=SCHEMA)
    _keep(lake, engine, (name, state), columns, Query(exp.select("*").from_("counts"), {}, now, "analyze"), run_id)
    return Analyzed(name, state.snapshot, columns)


def _keep(
    lake: Lake, engine: Engine, about: tuple[TableName, TableState], columns: pa.Table, query: Query, run_id: str
) -> None:
    if lake.state(STATISTICS) is None:
        lake.define(STATISTICS, TableSpec(SCHEMA, comment="What is in each column of a table"))
    name, state = about
    relations = {"counts": Relation(SCHEMA, memory=columns)}

    def change(target: TableState) -> Change:
        staged = engine.stage(Work(Query(query.tree, relations, query.now, query.origin), target.target()))
        written = columns.num_rows
        offsets = {"snapshot": state.snapshot}
        return Change(
            Provenance(run_id, _flow(name), "append", offsets=offsets, read=written, written=written), staged.add
        )

    lake.commit_rebased(STATISTICS, change)


def _flow(name: TableName) -> str:
    return f"analyze {name}"
