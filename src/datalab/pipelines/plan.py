"""The planner: declarations and table heads in, steps with reasons out. Pure: it reads no table and no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datalab.engine.base import Check
from datalab.lake.beside import keeps_state, rows_changed
from datalab.lake.provenance import MAINTENANCE, Position
from datalab.lake.read import standing
from datalab.lake.table import Snapshot
from datalab.names import TableName
from datalab.pipelines.cdc import cdc_query, condition
from datalab.pipelines.graph import FlowNode
from datalab.pipelines.grouping import Grouping, grouping
from datalab.pipelines.joins import joined_grouping
from datalab.pipelines.steps import Part, Step, StepKind, TableRead

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Head:
    """What the planner knows of a table: newest snapshot, flow positions, and history where a reader lags behind."""

    snapshot: int | None = None
    positions: Mapping[str, Position] | None = None
    history: tuple[Snapshot, ...] = ()
    columns: tuple[str, ...] = ()
    schema: pa.Schema | None = None

    def position(self, flow: str) -> Position | None:
        """Where a flow into this table stands; None before its first commit."""
        return (self.positions or {}).get(flow)

    def since(self, snapshot: int | None) -> tuple[int, int] | None:
        """How many commits came after `snapshot`, and how many rows they wrote; None where history does not say."""
        later = self._later(snapshot)
        if later is None:
            return None
        changes = [entry for entry in later if entry.operation not in MAINTENANCE]
        rows = sum(entry.provenance.written if entry.provenance else entry.rows_added for entry in changes)
        return len(changes), rows

    def churn(self, snapshot: int | None) -> int:
        """Rows that have to be read to know what changed after `snapshot`."""
        later = self._later(snapshot)
        return sum(rows_changed(entry) for entry in (self.history if later is None else later))

    def _later(self, snapshot: int | None) -> tuple[Snapshot, ...] | None:
        """The history after `snapshot`; None where it does not reach back that far."""
        ids = [entry.id for entry in self.history]
        snapshot = standing(self.history, snapshot) if snapshot is not None else None
        return self.history[ids.index(snapshot) + 1 :] if snapshot in ids else None

    @property
    def rows(self) -> int | None:
        """Rows of the newest snapshot, where the history was read."""
        return self.history[-1].rows_total if self.history else None


Heads = Mapping[TableName, Head]
NO_HEAD = Head()
_CHEAP_CHURN = 1_000_000


def plan(
    flows: Iterable[FlowNode], heads: Heads, ingest: Collection[Step] = (), refresh: Collection[TableName] = ()
) -> tuple[Step, ...]:
    """All steps of a run in an order that respects their dependencies, the ingest steps first.

    A table that an earlier step changes is `changing`: steps behind it are planned for its next snapshot, and are
    planned again with the real head just before they run.
    """
    changing = {step.target for step in ingest if step.kind != "skip"}
    steps = [*ingest]
    for node in flows:
        step = plan_flow(node, heads, changing, refresh)
        if step.kind != "skip":
            changing.add(step.target)
        steps.append(step)
    return tuple(steps)


def plan_flow(
    node: FlowNode, heads: Heads, changing: Collection[TableName] = (), refresh: Collection[TableName] = ()
) -> Step:
    """What is to be done for one flow, given the heads of its target and of its inputs."""
    base = replace(_base(node), base=heads.get(node.flow.target, NO_HEAD).snapshot)
    empty = [
        str(i.table) for i in node.inputs if i.table not in changing and heads.get(i.table, NO_HEAD).snapshot is None
    ]
    if empty:
        return base.skipped(f"{node.flow.target}: waits for the first rows of {', '.join(empty)}")
    fresh = node.flow.target in refresh
    position = heads.get(node.flow.target, NO_HEAD).position(node.flow.name)
    if position is None or fresh:
        return _whole(base, node, heads, changing, fresh=fresh and node.leads)
    moved = [i.table for i in node.inputs if _moved(i.table, position, heads, changing)]
    if node.flow.kind == "materialize":
        return _view(base, node, heads, changing, position, moved)
    return _stream(base, node, heads, changing, position, moved)


def _base(node: FlowNode) -> Step:
    cdc = node.flow.cdc
    query, keys = (cdc_query(node.query, cdc), cdc.keys) if cdc else (node.query, ())
    checks = tuple(Check(c.name, condition(c.condition, cdc), c.action) for c in node.dataset.constraints)
    after = tuple(i.table for i in node.inputs)
    return Step(
        node.flow.target,
        node.flow.name,
        "skip",
        "",
        (),
        query,
        checks,
        keys,
        node.code,
        str(node.flow.origin),
        after,
        cdc=cdc,
    )


def _kind(node: FlowNode, first: StepKind) -> StepKind:
    return "upsert" if node.flow.cdc else first


def _moved(table: TableName, position: Position, heads: Heads, changing: Collection[TableName]) -> bool:
    """Whether rows came or went since; a compaction moves none."""
    head, since = heads.get(table, NO_HEAD), position.inputs.get(str(table))
    return table in changing or (since != head.snapshot and (head.since(since) or (1, 0))[0] > 0)


def _all(table: TableName, heads: Heads, changing: Collection[TableName]) -> TableRead:
    head = heads.get(table, NO_HEAD)
    return TableRead(table, "all", None, None if table in changing else head.snapshot, head.rows)


def _part(table: TableName, part: Part, position: Position, heads: Heads, changing: Collection[TableName]) -> TableRead:
    head, since = heads.get(table, NO_HEAD), position.inputs.get(str(table))
    if since is None:
        return _all(table, heads, changing)
    news = head.since(since)
    until = None if table in changing else head.snapshot
    return TableRead(table, part, since, until, news[1] if news else None)


def _whole(base: Step, node: FlowNode, heads: Heads, changing: Collection[TableName], *, fresh: bool) -> Step:
    inputs = tuple(_all(i.table, heads, changing) for i in node.inputs)
    view = node.flow.kind == "materialize"
    reason = "full refresh asked for" if fresh else _first(node, heads)
    step = _with(base, _kind(node, "replace" if view or fresh else "append"), f"{base.target}: {reason}", inputs)
    return replace(step, fresh=view or fresh, rebuild=fresh)


def _first(node: FlowNode, heads: Heads) -> str:
    """What other flows have appended stays: those that are declared no more, or by another name, too."""
    others = sorted((heads.get(node.flow.target, NO_HEAD).positions or {}).keys() - {node.flow.name})
    if node.flow.cdc or node.flow.kind == "materialize" or not others:
        return "first run"
    return f"first run of the flow {node.flow.name}; the rows of {', '.join(others)} stay until --full-refresh"


def _stream(
    base: Step,
    node: FlowNode,
    heads: Heads,
    changing: Collection[TableName],
    position: Position,
    moved: list[TableName],
) -> Step:
    streams = {i.table for i in node.inputs if i.stream}
    news = [table for table in moved if table in streams]
    if not news:
        return base.skipped(f"{base.target}: nothing new in {_names(streams)}")
    inputs = tuple(
        _part(i.table, "added", position, heads, changing) if i.stream else _all(i.table, heads, changing)
        for i in node.inputs
    )
    reason = f"{base.target}: {_news(news, position, heads, changing)}"
    if position.code != node.code:
        reason += "; the query changed: rows consumed before keep the old result until --full-refresh"
    return _with(base, _kind(node, "append"), reason, inputs)


def _view(
    base: Step,
    node: FlowNode,
    heads: Heads,
    changing: Collection[TableName],
    position: Position,
    moved: list[TableName],
) -> Step:
    whole = tuple(_all(i.table, heads, changing) for i in node.inputs)
    if position.code != node.code:
        return _with(base, "replace", f"{base.target}: the query changed", whole)
    if not moved:
        return base.skipped(f"{base.target}: unchanged inputs, skipped")
    news = f"{base.target}: {_news(moved, position, heads, changing)}"
    moved = [table for table in moved if not _quiet(table, heads, changing, position)] or moved[:1]
    groups = _groups(node, heads, moved)
    if not isinstance(groups, Grouping):
        return _with(base, "replace", f"{news}; recomputed whole: {groups}", whole)
    changed = _part(moved[0], "changed", position, heads, changing)
    if _forgotten(changed, heads):
        return _with(
            base, "replace", f"{news}; recomputed whole: snapshot {changed.since} of {moved[0]} is gone", whole
        )
    if changed.part == "all" or _mostly(changed, heads):
        return _with(base, "replace", f"{news}; recomputed whole: most of {moved[0]} changed", whole)
    if _rewritten(changed, heads):
        return _with(base, "replace", f"{news}; recomputed whole: large files of {moved[0]} were rewritten", whole)
    how = "from the changed rows alone" if keeps_state(position) else "from all of their rows"
    others = [_all(i.table, heads, changing) for i in node.inputs if i.table != changed.table]
    step = _with(base, "replace_groups", f"{news}; only the touched groups are recomputed, {how}", (changed, *others))
    return replace(step, keys=groups.keys)


def _quiet(table: TableName, heads: Heads, changing: Collection[TableName], position: Position) -> bool:
    """Whether a table has new snapshots in which no row changed."""
    since = position.inputs.get(str(table))
    return table not in changing and since is not None and heads.get(table, NO_HEAD).churn(since) == 0


def _groups(node: FlowNode, heads: Heads, moved: list[TableName]) -> Grouping | str:
    """The groups that a change of the moved table touches, or why they cannot be told."""
    if len(node.inputs) == 1:
        return grouping(node.query, heads.get(moved[0], NO_HEAD).columns)
    groups = joined_grouping(node.query, moved[0])
    if isinstance(groups, Grouping) and len(moved) > 1:
        return f"{_names(moved)} changed at once"
    return groups


def _forgotten(changed: TableRead, heads: Heads) -> bool:
    """Whether the snapshot that was consumed last does not exist any more."""
    history = heads.get(changed.table, NO_HEAD).history
    return changed.since is not None and bool(history) and all(entry.id != changed.since for entry in history)


def _mostly(changed: TableRead, heads: Heads) -> bool:
    total = heads.get(changed.table, NO_HEAD).rows
    return changed.rows is not None and total is not None and changed.rows * 2 > total


def _rewritten(changed: TableRead, heads: Heads) -> bool:
    """Whether comparing the rewritten files costs more than the view as a whole (measured at 10 M rows)."""
    head = heads.get(changed.table, NO_HEAD)
    return changed.until is not None and head.churn(changed.since) > max(_CHEAP_CHURN, (head.rows or 0) // 5)


def _with(base: Step, kind: StepKind, reason: str, inputs: tuple[TableRead, ...]) -> Step:
    return replace(base, kind=kind, reason=reason, inputs=inputs, fresh=kind == "replace")


def _news(tables: list[TableName], position: Position, heads: Heads, changing: Collection[TableName]) -> str:
    return ", ".join(_news_of(table, position, heads, changing) for table in tables)


def _news_of(table: TableName, position: Position, heads: Heads, changing: Collection[TableName]) -> str:
    if table in changing:
        return f"{table} changes in this run"
    since = position.inputs.get(str(table))
    news = heads.get(table, NO_HEAD).since(since)
    if news is None:
        return f"{table} changed"
    commits, rows = news
    return f"{commits} new snapshot{'s' if commits != 1 else ''} of {table}, {rows:,} rows"


def _names(tables: Collection[TableName]) -> str:
    return ", ".join(sorted(map(str, tables)))
