"""The quarantine as a project sees it: records shown with personal data masked, replayed into their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datalab.errors import QuarantineError
from datalab.names import TableName
from datalab.pipelines.execute import Context
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
    restage = _restage(context, target, flow, feeds, graph)
    landed = replay(context.lake, context.engine, state, records, restage, context.run_id)
    done = records.filter(pc.is_in(records.column("id"), pa.array(sorted(landed), pa.string())))
    resolve(context.lake, context.engine, done, "replayed", context.run_id, context.now)
    return Replayed(str(target), done.num_rows, records.num_rows - done.num_rows)


def _restage(context: Context, target: TableName, flow: str, feeds: Sequence[SourceFeed], graph: Graph) -> Restage:
    for feed in feeds:
        if feed.target == target and feed.name == flow:
            return lambda state, records: feed.restage(context, state, records)
    for node in graph.flows:
        if node.flow.target == target and node.flow.name == flow:
            step = plan_flow(node, {read.table: NO_HEAD for read in node.inputs}, {read.table for read in node.inputs})
            return lambda state, records: restage_rows(context, step, state, records)
    raise QuarantineError(
        f"{target}: the source or flow {flow} is not in this project any more",
        "discard its records, or bring it back: datalab quarantine discard --table " + str(target),
    )
