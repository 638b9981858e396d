"""The quarantine as a project sees it: records shown with personal data masked, replayed into their tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datalab.errors import QuarantineError
from datalab.ingest.sources.base import Evolved
from datalab.lake.table import TableState
from datalab.names import TableName
from datalab.pipelines.execute import Context, unit_ahead
from datalab.pipelines.graph import Graph
from datalab.pipelines.plan import NO_HEAD, plan_flow
from datalab.pipelines.replay import restage_rows
from datalab.platform.feeds import SourceFeed
from datalab.platform.masking import mask_row
from datalab.quality.replay import Restage, replay
from datalab.quality.review import Selection, find, resolve

_HIDDEN = frozenset({"raw"})


@dataclass(frozen=True)
class Replayed:
    """How many of the chosen records are in their table now, and how many stay in quarantine."""

    table: str
    replayed: int
    still_quarantined: int


@dataclass(frozen=True)
class _Way:
    """How records are tried again, but for those with one of `ahead` in `column`.

    They are what an interrupted run left: the next one consumes their unit as a whole, so now they would enter twice.
    `ready` answers the table, grown to what the contract says by now.
    """

    ready: Callable[[], TableState]
    restage: Restage
    column: str
    ahead: frozenset[str]


def show_records(
    context: Context, selection: Selection, personal: Sequence[str], *, raw: bool = False
) -> list[dict[str, Any]]:
    """The selected records as plain values, empty fields left out; `personal` fields masked, raw only if asked."""
    hidden = frozenset[str]() if raw else _HIDDEN
    records = find(context.lake, context.engine, selection, context.now).to_pylist()
    return [
        {
            name: mask_row(value, personal) if name == "row" else value
            for name, value in record.items()
            if value is not None and name not in hidden
        }
        for record in records
    ]


def replay_records(context: Context, selection: Selection, feeds: Sequence[SourceFeed], graph: Graph) -> list[Replayed]:
    """Try the selected records again, table by table. What is good now is in its table and marked replayed."""
    records = find(context.lake, context.engine, selection, context.now)
    pairs = sorted(set(zip(records.column("target").to_pylist(), records.column("flow").to_pylist(), strict=True)))
    return [
        _replay_one(context, _of(records, *pair), TableName.parse(pair[0]), pair[1], feeds, graph) for pair in pairs
    ]


def _of(records: pa.Table, target: str, flow: str) -> pa.Table:
    same = pc.and_(pc.equal(records.column("target"), target), pc.equal(records.column("flow"), flow))
    return records.filter(same)


def _replay_one(
    context: Context, records: pa.Table, target: TableName, flow: str, feeds: Sequence[SourceFeed], graph: Graph
) -> Replayed:
    state = context.lake.require(target)
    way = _way(context, state, flow, records, feeds, graph)
    ahead = pc.is_in(records.column(way.column), pa.array(sorted(way.ahead), pa.string()))
    consumed = records.filter(pc.invert(ahead))
    landed = _landed(context, way, consumed)
    done = records.filter(pc.is_in(records.column("id"), pa.array(sorted(landed), pa.string())))
    resolve(context.lake, context.engine, done, "replayed", context.run_id, context.now)
    return Replayed(str(target), done.num_rows, records.num_rows - done.num_rows)


def _landed(context: Context, way: _Way, records: pa.Table) -> frozenset[str]:
    while True:
        with suppress(Evolved):
            return replay(context.lake, context.engine, way.ready(), records, way.restage, context.run_id)


def _way(
    context: Context, state: TableState, flow: str, records: pa.Table, feeds: Sequence[SourceFeed], graph: Graph
) -> _Way:
    for feed in feeds:
        if feed.target == state.name and feed.name == flow:
            ahead = feed.ahead(context, state, records)
            return _Way(feed.ready, partial(feed.restage, context), "id", ahead)
    for node in graph.flows:
        if node.flow.target == state.name and node.flow.name == flow:
            step = plan_flow(node, {read.table: NO_HEAD for read in node.inputs}, {read.table for read in node.inputs})
            units = {unit_ahead(node, state)} if node.flow.kind != "materialize" else ()
            return _Way(lambda: state, partial(restage_rows, context, step), "unit", frozenset(units))
    raise QuarantineError(
        f"{state.name}: the source or flow {flow} is not in this project any more",
        f"discard its records, or bring it back: datalab quarantine discard --table {state.name}",
    )
