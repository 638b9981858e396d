"""Two snapshots of a table compared: rows added, removed and, by key, changed. Reads what came and went alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlglot import exp, parse_one

from datalab.engine.base import Engine, Query
from datalab.errors import PipelineTypeError
from datalab.lake.lake import Lake
from datalab.lake.table import Difference, TableState
from datalab.names import TableName, is_internal
from datalab.pipelines.graph import Graph
from datalab.pipelines.grouping import Grouping, grouping
from datalab.platform.queries import Moment

# Rows that were copied from file to file stand on both sides: what is left is how often a row is there more, or less.
_NET = """
SELECT * FROM (SELECT {columns}, sum(diff_side) AS diff_n
  FROM (SELECT {columns}, 1 AS diff_side FROM came UNION ALL SELECT {columns}, -1 AS diff_side FROM went) AS both
  GROUP BY {columns}) AS net WHERE diff_n <> 0
"""
_BY_KEY = """
SELECT {keys}, max(CASE WHEN diff_n > 0 THEN 1 ELSE 0 END) AS diff_came,
  max(CASE WHEN diff_n < 0 THEN 1 ELSE 0 END) AS diff_went FROM ({net}) AS net GROUP BY {keys}
"""
_COUNTS = """
SELECT coalesce(sum(CASE WHEN diff_went = 0 THEN 1 ELSE 0 END), 0) AS added,
  coalesce(sum(CASE WHEN diff_came = 0 THEN 1 ELSE 0 END), 0) AS removed,
  coalesce(sum(diff_came * diff_went), 0) AS changed FROM ({by_key}) AS keys
"""
_TOTALS = """
SELECT coalesce(sum(CASE WHEN diff_n > 0 THEN diff_n ELSE 0 END), 0) AS added,
  coalesce(sum(CASE WHEN diff_n < 0 THEN -diff_n ELSE 0 END), 0) AS removed, 0 AS changed FROM ({net}) AS net
"""


@dataclass(frozen=True)
class RowDifference:
    """What leads from one snapshot to another. With keys, counts are of keys; without, of rows, and none is changed.

    `rows` are the first of them: `change` is added, removed, before or after; a changed key has one row of each of the
    last two.
    """

    since: int
    until: int
    keys: tuple[str, ...]
    added: int
    removed: int
    changed: int
    rows: list[dict[str, Any]]


def compare(
    lake: Lake, engine: Engine, name: TableName, between: tuple[Moment, Moment], keys: Sequence[str], limit: int
) -> RowDifference:
    """Compare a table as of two moments, in either order. PipelineTypeError for keys that the table does not have."""
    state = lake.require(name)
    since, until = (lake.at(state, moment) for moment in between)
    difference = _moved(lake, state, since, until)
    columns = [field.name for field in state.schema if not is_internal(field.name)]
    missing = [key for key in keys if key not in columns]
    if missing:
        raise PipelineTypeError(f"{name} has no column {missing[0]}", f"columns: {', '.join(columns)}")
    net = _NET.format(columns=_listed(columns))
    by_key = _BY_KEY.format(keys=_listed(keys), net=net) if keys else ""
    counts = _COUNTS.format(by_key=by_key) if keys else _TOTALS.format(net=net)
    (totals,) = _ask(engine, counts, difference).to_pylist()
    found = _ask(engine, _first(net, by_key, columns, keys, limit), difference).to_pylist() if limit else []
    return RowDifference(since, until, tuple(keys), **{k: int(v) for k, v in totals.items()}, rows=_shown(found))


def keys_of(graph: Graph, name: TableName) -> tuple[str, ...]:
    """The columns that tell the rows of a table apart, as its flows declare them; empty where they do not."""
    for node in graph.flows:
        if node.flow.target == name and node.flow.cdc is not None:
            return node.flow.cdc.keys
        if node.flow.target == name and node.flow.kind == "materialize":
            found = grouping(node.query, ())
            return found.keys if isinstance(found, Grouping) else ()
    return ()


def _moved(lake: Lake, state: TableState, since: int, until: int) -> Difference:
    order = [snapshot.id for snapshot in lake.history(state)]
    if order.index(since) <= order.index(until):
        return lake.changed(state, since, until)
    backwards = lake.changed(state, until, since)
    return Difference(backwards.removed, backwards.added)


def _first(net: str, by_key: str, columns: Sequence[str], keys: Sequence[str], limit: int) -> str:
    if not keys:
        return f"SELECT * FROM ({net}) AS net ORDER BY {_listed(columns[:1])} LIMIT {limit}"
    same = " AND ".join(f"net.`{key}` <=> keys.`{key}`" for key in keys)
    chosen = f"SELECT * FROM ({by_key}) AS all_keys ORDER BY {_listed(keys)} LIMIT {limit}"
    wanted = ", ".join(f"net.`{column}`" for column in columns)
    order = ", ".join(f"net.`{key}`" for key in keys)
    return (
        f"SELECT {wanted}, net.diff_n, keys.diff_came + keys.diff_went AS diff_sides FROM ({net}) AS net "
        f"JOIN ({chosen}) AS keys ON {same} ORDER BY {order}, net.diff_n"
    )


def _shown(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for row in found:
        count, sides = row.pop("diff_n"), row.pop("diff_sides", 1)
        words = ("before", "after") if sides > 1 else ("removed", "added")
        rows.append({"change": words[count > 0], **row})
    return rows


def _ask(engine: Engine, sql: str, difference: Difference) -> pa.Table:
    tree = parse_one(sql, read="spark", into=exp.Select)
    sides: Mapping[str, Any] = {"came": difference.added, "went": difference.removed}
    return engine.read(Query(tree, sides, datetime.now(UTC), "data diff")).read_all()


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns)
