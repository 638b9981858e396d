"""Table heads for the planner: states of all tables, and histories where a reader lags behind."""

from __future__ import annotations

from collections.abc import Iterable

from datalab.lake.lake import Lake
from datalab.lake.table import TableState
from datalab.names import TableName
from datalab.pipelines.graph import FlowNode
from datalab.pipelines.plan import Head


def read_heads(lake: Lake, nodes: Iterable[FlowNode]) -> dict[TableName, Head]:
    """Heads of every target and input of `nodes`. Opens no data file."""
    flows = list(nodes)
    names = {node.flow.target for node in flows} | {read.table for node in flows for read in node.inputs}
    states = {name: lake.state(name) for name in names}
    lagging = {read.table for node in flows for read in node.inputs if _lags(node, read.table, states)}
    return {name: _head(lake, state, name in lagging) for name, state in states.items() if state is not None}


def _lags(node: FlowNode, table: TableName, states: dict[TableName, TableState | None]) -> bool:
    target, source = states[node.flow.target], states[table]
    position = target.positions.get(node.flow.name) if target else None
    return source is not None and (position is None or position.inputs.get(str(table)) != source.snapshot)


def _head(lake: Lake, state: TableState, with_history: bool) -> Head:
    history = lake.history(state) if with_history else ()
    return Head(state.snapshot, state.positions, history, tuple(state.schema.names), state.schema)
