"""Declarations to a graph: views written in, every table known, no circle, each flow fit for its target."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise

from sqlglot import exp

from datalab.errors import InvalidName, PipelineCycle, PipelineError, UnknownTable
from datalab.names import TableName
from datalab.pipelines.fingerprint import code_hash
from datalab.pipelines.model import Dataset, Declarations, Flow, Origin
from datalab.pipelines.query import is_stream, origin_of
from datalab.pipelines.streams import check_streams
from datalab.pipelines.views import check_views, inline_views, tables_of


@dataclass(frozen=True)
class Input:
    """A table that a flow reads; `stream`: each of its rows once. `origin` is where the query names it first."""

    table: TableName
    stream: bool
    origin: Origin


@dataclass(frozen=True)
class FlowNode:
    """A flow in the graph. `query` has its views written in; `leads`: it is the first flow into its target."""

    flow: Flow
    dataset: Dataset
    query: exp.Query
    inputs: tuple[Input, ...]
    code: str
    leads: bool = True


@dataclass(frozen=True)
class Graph:
    """Everything that a project declares. `flows` stand in an order in which each comes after those that it reads."""

    datasets: Mapping[TableName, Dataset]
    flows: tuple[FlowNode, ...]
    settings: Mapping[str, str]

    def into(self, table: TableName) -> tuple[FlowNode, ...]:
        """The flows that feed a table."""
        return tuple(node for node in self.flows if node.flow.target == table)

    @property
    def sources(self) -> frozenset[TableName]:
        """Tables that are read and that no flow makes."""
        return frozenset(i.table for node in self.flows for i in node.inputs) - self.datasets.keys()


NO_FLOWS = Graph({}, (), {})


def build_graph(declarations: Declarations, known_tables: Collection[TableName]) -> Graph:
    """Resolve and check all names. `known_tables` exist without a declaration: those that ingest makes.

    PipelineCycle, UnknownTable, UnsupportedStatement, PipelineError; messages name file, line and column.
    """
    views = {dataset.view: dataset for dataset in declarations.datasets if dataset.kind == "temporary_view"}
    datasets = {dataset.name: dataset for dataset in declarations.datasets if dataset.name is not None}
    check_views(views)
    readable = {*known_tables, *datasets}
    for view in views.values():
        if view.query is not None:
            _inputs(inline_views(view.query, views), view.origin, readable, views)
    nodes = [_node(flow, datasets, inline_views(flow.query, views), readable, views) for flow in declarations.flows]
    _check_datasets(datasets, nodes)
    return Graph(datasets, _sorted(nodes), declarations.settings)


def _node(
    flow: Flow,
    datasets: Mapping[TableName, Dataset],
    query: exp.Query,
    readable: Collection[TableName],
    views: Collection[str],
) -> FlowNode:
    dataset = datasets.get(flow.target)
    if dataset is None:
        hint = _did_you_mean(str(flow.target), map(str, datasets))
        raise UnknownTable(
            f"{flow.origin}: flow {flow.name} feeds {flow.target}, which is not declared",
            hint or f"declare it: CREATE STREAMING TABLE {flow.target}",
        )
    inputs = _inputs(query, flow.origin, readable, views)
    _check_flow(flow, dataset, inputs)
    check_streams(flow, query)
    resolved = replace(flow, query=query)
    return FlowNode(resolved, dataset, query, inputs, code_hash(resolved, dataset))


def _inputs(
    query: exp.Query, default: Origin, readable: Collection[TableName], views: Collection[str]
) -> tuple[Input, ...]:
    """What the query reads. The names in its tree are brought to lower case."""
    inputs: dict[TableName, Input] = {}
    for table in tables_of(query):
        origin = origin_of(table, default)
        name = _name(table)
        if name is None or name not in readable:
            raise _unknown(table, origin, [*map(str, readable), *views])
        for key in ("db", "this"):
            table.args[key].set("this", table.args[key].name.lower())
        found = inputs.setdefault(name, Input(name, is_stream(table), origin))
        if found.stream != is_stream(table):
            raise PipelineError(
                f"{origin}: {name} is read as a stream and as a table in one query ({found.origin})",
                "put one of the two reads into a flow of its own",
            )
    return tuple(inputs.values())


def _name(table: exp.Table) -> TableName | None:
    try:
        return TableName.parse(f"{table.db}.{table.name}".lower())
    except InvalidName:
        return None


def _unknown(table: exp.Table, origin: Origin, names: list[str]) -> UnknownTable:
    name = f"{table.db}.{table.name}" if table.db else table.name
    hint = _did_you_mean(name, names)
    if table.db.lower() == "live":
        hint = f"LIVE. is not needed: write the table's own name, layer.{table.name}"
    hint = hint or "declare it in a pipeline, or as the `into` of a source in datalab.yaml"
    return UnknownTable(f"{origin}: nobody makes {name}", hint)


def _did_you_mean(name: str, candidates: Iterable[str]) -> str:
    known = list(candidates)
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    near = near or [candidate for candidate in known if candidate.rpartition(".")[2] == name.lower()][:3]
    return f"did you mean {' or '.join(near)}?" if near else ""


def _check_flow(flow: Flow, dataset: Dataset, inputs: tuple[Input, ...]) -> None:
    streams = [i for i in inputs if i.stream]
    if flow.kind == "materialize":
        if streams:
            raise PipelineError(
                f"{streams[0].origin}: the materialized view {flow.target} reads {streams[0].table} as a stream",
                "leave STREAM out: a view equals its query over whole tables; or declare a STREAMING TABLE",
            )
        return
    if dataset.kind != "streaming_table":
        raise PipelineError(
            f"{flow.origin}: flow {flow.name} feeds {flow.target}, a materialized view ({dataset.origin})",
            "declare the target as a STREAMING TABLE: a materialized view is made by its own query only",
        )
    if not streams:
        raise PipelineError(
            f"{flow.origin}: flow {flow.name} into the streaming table {flow.target} reads no stream",
            "write FROM STREAM before the table whose new rows are wanted, or declare a MATERIALIZED VIEW",
        )


def _check_datasets(datasets: Mapping[TableName, Dataset], nodes: list[FlowNode]) -> None:
    by_target: dict[TableName, list[FlowNode]] = {name: [] for name in datasets}
    for node in nodes:
        by_target[node.flow.target].append(node)
    for name, feeding in by_target.items():
        if not feeding:
            raise PipelineError(
                f"{datasets[name].origin}: the streaming table {name} has no flow",
                f"add AS SELECT … FROM STREAM …, or CREATE FLOW … AS INSERT INTO {name} …",
            )
        for one, other in pairwise(feeding):
            if _merging(one) != _merging(other):
                raise PipelineError(
                    f"{other.flow.origin}: {name} is fed with other keys, or another history, in {one.flow.origin}",
                    "all flows into a table append, or all upsert by the same KEYS and keep the same history",
                )
    changing = {name for name, feeding in by_target.items() if any(node.flow.kind != "append" for node in feeding)}
    for node in nodes:
        for read in node.inputs:
            if read.stream and read.table in changing:
                place = datasets[read.table].origin
                raise PipelineError(
                    f"{read.origin}: {read.table} cannot be read as a stream: its rows change ({place})",
                    "read it without STREAM in a MATERIALIZED VIEW, or stream from the table before it",
                )


def _merging(node: FlowNode) -> tuple[object, ...]:
    cdc = node.flow.cdc
    return (cdc.keys, cdc.scd_type, cdc.track_history, cdc.track_history_except) if cdc else ()


def _sorted(nodes: list[FlowNode]) -> tuple[FlowNode, ...]:
    """Every flow behind all flows into the tables that it reads; otherwise in the order of declaration."""
    into: dict[TableName, list[FlowNode]] = {}
    for node in nodes:
        into.setdefault(node.flow.target, []).append(node)
    done: dict[str, FlowNode] = {}

    def visit(node: FlowNode, path: tuple[tuple[FlowNode, Input], ...]) -> None:
        if node.flow.name in done:
            return
        for read in node.inputs:
            if any(step.flow.target == read.table for step, _ in (*path, (node, read))):
                raise _cycle((*path, (node, read)))
            for upstream in into.get(read.table, []):
                visit(upstream, (*path, (node, read)))
        first = all(other.flow.target != node.flow.target for other in done.values())
        done[node.flow.name] = replace(node, leads=first)

    for node in nodes:
        visit(node, ())
    return tuple(done.values())


def _cycle(path: tuple[tuple[FlowNode, Input], ...]) -> PipelineCycle:
    closing = path[-1][1].table
    start = next(index for index, (node, _) in enumerate(path) if node.flow.target == closing)
    circle = path[start:]
    reads = " → ".join(f"{node.flow.target} reads {read.table} ({read.origin})" for node, read in circle)
    message = f"{circle[0][1].origin}: tables read each other in a circle: {reads}"
    return PipelineCycle(message, "take one of the reads out")
