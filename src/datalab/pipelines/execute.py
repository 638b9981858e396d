"""Runs one planned flow step: stage, audit, commit. The only place where a flow's rows are computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from datalab.engine.base import Append, Query, Staged, Work
from datalab.errors import Fenced, SchemaConflict, TableNotFound
from datalab.lake.beside import with_state
from datalab.lake.hashed import trusted
from datalab.lake.lake import Lake
from datalab.lake.provenance import CheckResult, Provenance, Range
from datalab.lake.schema import conflicts
from datalab.lake.table import DataFile, Relation, TableSpec, TableState
from datalab.names import TableName
from datalab.pipelines.cdc import merge_mode
from datalab.pipelines.context import Context
from datalab.pipelines.graph import FlowNode
from datalab.pipelines.groups import Prepared, prepared_groups, prepared_whole
from datalab.pipelines.layout import table_spec
from datalab.pipelines.model import Dataset
from datalab.pipelines.outcome import Outcome
from datalab.pipelines.places import PLACES, placed, renewed
from datalab.pipelines.steps import Step, TableRead
from datalab.quality.publish import (
    Publication,
    check_results,
    discarded_on_failure,
    publish,
    require_expectations,
)
from datalab.quality.rejected import Attempt, rejected_rows

__all__ = ["Context", "Outcome", "execute", "unit_ahead"]


def execute(context: Context, step: Step, dataset: Dataset) -> Outcome:
    """Do one step that is not a skip, planned with the present heads.

    ExpectationFailed leaves the table as it was; Fenced means that another writer was first.
    """
    assert step.query is not None
    inputs = {part.table: _require(context.lake, part.table) for part in step.inputs if isinstance(part, TableRead)}
    query = _query(context, step, inputs)
    state = _target(context, step, dataset, query)
    prepared = _prepared(context, step, query, state)
    current = None if isinstance(prepared.mode, Append) else context.lake.files(state)
    seen = Relation(state.schema) if step.fresh else current
    places = trusted(prepared.places)
    with discarded_on_failure(context.engine, Staged((), beside=prepared.beside)):
        mode = placed(prepared.mode, places, prepared.touched, seen)
        work = Work(prepared.query, state.target(), mode, step.checks, seen, record=True)
        staged = replace(context.engine.stage(work), beside=prepared.beside)
    if step.fresh and current is not None:
        staged = replace(staged, remove=current.files, whole=True)
    with discarded_on_failure(context.engine, staged):
        made = renewed(context, state, prepared.keys, places, _live(current, staged)) if prepared.keys else None
    if made is not None:
        staged = replace(staged, beside=(*staged.beside, made))
        prepared = replace(prepared, offsets=with_state(prepared.offsets, PLACES, (made,)))
    return _publish(context, step, state, staged, prepared)


def _live(current: Relation | None, staged: Staged) -> tuple[DataFile, ...]:
    """The data files once a change has landed."""
    gone = {file.path for file in staged.remove}
    return (*(file for file in (current.files if current else ()) if file.path not in gone), *staged.add)


def _publish(context: Context, step: Step, state: TableState, staged: Staged, prepared: Prepared) -> Outcome:
    results = check_results(step.checks, staged)
    with discarded_on_failure(context.engine, staged):
        require_expectations(state, results)
        attempt = Attempt(state.name, step.flow, _unit(step), context.run_id, context.now, step.fresh)
        rejected = rejected_rows(context.engine, staged.rejected, step.checks, attempt)
    provenance = replace(_provenance(context, step, staged, results), offsets=prepared.offsets)
    after = publish(context.lake, context.engine, Publication(state, provenance, rejected, staged), context.now)
    context.engine.discard(replace(staged, add=(), beside=(), changes=None, marked=()))
    quarantined = staged.rejected_rows
    return Outcome(after.snapshot, staged.read, staged.written, quarantined, staged.superseded, results)


def _provenance(context: Context, step: Step, staged: Staged, results: tuple[CheckResult, ...]) -> Provenance:
    reads = [part for part in step.inputs if isinstance(part, TableRead)]
    return Provenance(
        run_id=context.run_id,
        flow=step.flow,
        kind=step.kind,
        code=step.code,
        inputs={str(part.table): Range(part.since, part.until or 0) for part in reads},
        read=staged.read,
        written=staged.written,
        superseded=staged.superseded,
        checks=results,
        fresh=step.fresh,
    )


def unit_ahead(node: FlowNode, state: TableState) -> str:
    """The unit that a streaming flow's next attempt will consume."""
    position = state.positions.get(node.flow.name)
    since = position.inputs if position else {}
    return _unit_of(node.flow.name, [(i.table, since.get(str(i.table)) if i.stream else None) for i in node.inputs])


def _unit(step: Step) -> str:
    """The same for every attempt that starts where the last commit ended, however far it reads."""
    return _unit_of(step.flow, [(part.table, part.since) for part in step.inputs if isinstance(part, TableRead)])


def _unit_of(flow: str, reads: Iterable[tuple[TableName, int | None]]) -> str:
    return f"{flow}|{','.join(sorted(f'{table}@{since}' for table, since in reads))}"


def _require(lake: Lake, name: TableName) -> TableState:
    state = lake.state(name)
    if state is None:
        raise TableNotFound(f"{name} does not exist", f"make it first: datalab run {name}")
    return state


def _query(context: Context, step: Step, inputs: Mapping[TableName, TableState]) -> Query:
    relations = {
        str(part.table): _relation(context.lake, inputs[part.table], part)
        for part in step.inputs
        if isinstance(part, TableRead)
    }
    assert step.query is not None
    return Query(step.query, relations, context.now, step.origin)


def _relation(lake: Lake, state: TableState, part: TableRead) -> Relation:
    if part.part == "added" and part.until is not None:
        return lake.added(state, part.since, part.until)
    return lake.files(state, part.until)


def _target(context: Context, step: Step, dataset: Dataset, query: Query) -> TableState:
    state = context.lake.state(step.target)
    present = state.snapshot if state is not None else None
    if present != step.base:
        raise Fenced(
            f"{step.target}: another writer committed snapshot {present} after this plan, made from {step.base}",
            "run again: the next plan starts from the newer snapshot",
        )
    spec = table_spec(dataset, step, context.engine.schema(query))
    if state is not None and _covers(state, spec):
        return state
    lost = conflicts(state.schema, spec.schema) if state is not None else ()
    if state is not None and lost and step.rebuild:
        return context.lake.reshape(state, spec.schema)
    if lost:
        raise SchemaConflict(
            f"{step.target}: the query does not fit the table any more: {'; '.join(lost)}",
            f"datalab run {step.target} --full-refresh rebuilds the table with all its rows",
        )
    return context.lake.define(step.target, spec)


def _covers(present: TableState, wanted: TableSpec) -> bool:
    schema = wanted.schema.remove_metadata()
    same = present.schema.remove_metadata().equals(schema, check_metadata=False)
    return bool(same and wanted.properties.items() <= present.properties.items())


def _prepared(context: Context, step: Step, query: Query, state: TableState) -> Prepared:
    if step.kind == "upsert":
        assert step.cdc is not None
        return Prepared(merge_mode(step.cdc, query.tree, state.schema.names), query)
    if step.kind == "append":
        return Prepared(Append(), query)
    return (
        prepared_whole(context, query, state)
        if step.kind == "replace"
        else prepared_groups(context, step, query, state)
    )
