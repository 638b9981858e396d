"""A run: ingest and flows as jobs of one plan, executed, recorded, announced."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from datalab import __version__
from datalab.errors import UnknownTable
from datalab.events import Bus, RunFinished, RunStarted
from datalab.ingest.ingest import Ingest
from datalab.names import TableName
from datalab.pipelines.execute import Context, Outcome, execute
from datalab.pipelines.graph import FlowNode, Graph
from datalab.pipelines.plan import plan, plan_flow
from datalab.pipelines.records import RunRecord, record_run
from datalab.pipelines.run import Job, RunOptions, run_jobs
from datalab.pipelines.steps import SourceRead, Step
from datalab.platform.heads import read_heads


@dataclass(frozen=True)
class Wish:
    """What the user asked to run: these tables and all before them (none named: everything), some from scratch."""

    tables: tuple[TableName, ...] = ()
    refresh: frozenset[TableName] = field(default_factory=frozenset)
    ingest: bool = True
    flows: bool = True


@dataclass(frozen=True)
class Work:
    """What there is to run: the project's sources and its graph, in one environment."""

    sources: Sequence[Ingest]
    graph: Graph
    environment: str = ""


def new_context(lake: object, engine: object) -> Context:
    """A context with a fresh run id and the present moment."""
    now = datetime.now(UTC)
    return Context(lake, engine, f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}", now)  # type: ignore[arg-type]


def plan_run(context: Context, work: Work, wish: Wish) -> tuple[Step, ...]:
    """What a run would do now, with reasons; nothing is written."""
    nodes, sources = _chosen(work, wish)
    ingest = [_ingest_step(source) for source in sources]
    return plan(nodes, read_heads(context.lake, nodes), ingest, wish.refresh)


def run(context: Context, work: Work, wish: Wish, bus: Bus, options: RunOptions) -> RunRecord:
    """Do what the plan says, each step planned again with the heads of its moment. Failures are in the record."""
    started = time.monotonic()
    nodes, sources = _chosen(work, wish)
    jobs = [*(_ingest_job(context, source) for source in sources), *(_flow_job(context, n, wish) for n in nodes)]
    bus.emit(RunStarted(context.run_id, len(jobs)))
    results = run_jobs(jobs, options, bus)
    record = RunRecord(context.run_id, context.now, datetime.now(UTC), work.environment, __version__, results)
    record_run(context, record)
    bus.emit(RunFinished(context.run_id, record.status, time.monotonic() - started))
    return record


def _chosen(work: Work, wish: Wish) -> tuple[list[FlowNode], list[Ingest]]:
    wanted = _upstream(work, {*wish.tables, *wish.refresh}) if wish.tables else None
    nodes = [node for node in work.graph.flows if wanted is None or node.flow.target in wanted]
    sources = [source for source in work.sources if wanted is None or source.target in wanted]
    return nodes if wish.flows else [], sources if wish.ingest else []


def _upstream(work: Work, tables: Collection[TableName]) -> set[TableName]:
    known = {node.flow.target for node in work.graph.flows} | {source.target for source in work.sources}
    unknown = sorted(set(tables) - known)
    if unknown:
        raise UnknownTable(f"no source or flow makes {unknown[0]}", "datalab pipelines list")
    wanted = set(tables)
    for node in reversed(work.graph.flows):
        if node.flow.target in wanted:
            wanted |= {read.table for read in node.inputs}
    return wanted


def _ingest_step(source: Ingest) -> Step:
    pending = source.pending()
    read = SourceRead(source.name, pending.unit, pending.new, pending.total)
    step = Step(source.target, source.name, "append", f"{source.target}: {pending.reason}", (read,))
    return step if pending.new else step.skipped(step.reason)


def _ingest_job(context: Context, source: Ingest) -> Job:
    def consume(_: Step) -> Outcome:
        done = source.run(context.run_id, context.now)
        return Outcome(done.snapshot, done.read, done.written, done.quarantined)

    return Job(source.target, source.name, frozenset(), lambda: _ingest_step(source), consume)


def _flow_job(context: Context, node: FlowNode, wish: Wish) -> Job:
    def planned() -> Step:
        return plan_flow(node, read_heads(context.lake, [node]), (), wish.refresh)

    after = frozenset(read.table for read in node.inputs)
    return Job(node.flow.target, node.flow.name, after, planned, lambda step: execute(context, step, node.dataset))
