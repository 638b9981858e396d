"""A run: ingest and flows as jobs of one plan, executed, recorded, announced."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa

from datalab import __version__
from datalab.errors import UnknownTable
from datalab.events import Bus, RunFinished, RunStarted
from datalab.names import TableName
from datalab.pipelines.columns import with_columns
from datalab.pipelines.context import Context
from datalab.pipelines.execute import execute
from datalab.pipelines.graph import NO_FLOWS, FlowNode, Graph
from datalab.pipelines.outcome import Outcome
from datalab.pipelines.plan import NO_HEAD, Heads, plan, plan_flow
from datalab.pipelines.records import RunRecord, record_run
from datalab.pipelines.run import Job, RunOptions, run_jobs
from datalab.pipelines.steps import SourceRead, Step
from datalab.platform.heads import read_heads
from datalab.platform.wish import Wish


class Feed(Protocol):
    """A source and the table that it feeds."""

    @property
    def name(self) -> str:
        """The source's name."""

    @property
    def target(self) -> TableName:
        """The bronze table."""

    def pending(self, context: Context) -> SourceRead:
        """What the source has that the table has not consumed."""

    def consume(self, context: Context) -> Outcome:
        """Take in all that is pending, in as many commits as it needs."""


@dataclass(frozen=True)
class Workload:
    """What there is to run: the project's sources and its graph, in one environment.

    `schemas` are the columns of what its flows make.
    """

    sources: Sequence[Feed]
    graph: Graph = NO_FLOWS
    schemas: Mapping[TableName, pa.Schema] = field(default_factory=dict)
    environment: str = ""


def plan_run(context: Context, workload: Workload, wish: Wish) -> tuple[Step, ...]:
    """What a run would do now, with reasons; nothing is written."""
    nodes, sources = _chosen(workload, wish)
    ingest = [_ingest_step(context, source) for source in sources]
    heads = read_heads(context.lake, nodes)
    steps = plan(nodes, heads, ingest, wish.refreshed(nodes))
    return tuple(_with_columns(step, heads, workload) for step in steps)


def run(context: Context, workload: Workload, wish: Wish, bus: Bus, options: RunOptions) -> RunRecord:
    """Do what the plan says, each step planned again with the heads of its moment. Failures are in the record."""
    started = time.monotonic()
    nodes, sources = _chosen(workload, wish)
    jobs = [
        *(_ingest_job(context, source) for source in sources),
        *(_flow_job(context, node, wish.refreshed(nodes), workload) for node in nodes),
    ]
    bus.emit(RunStarted(context.run_id, len(jobs)))
    results = run_jobs(jobs, options, bus)
    record = RunRecord(context.run_id, context.now, datetime.now(UTC), workload.environment, __version__, results)
    record_run(context, record)
    bus.emit(RunFinished(context.run_id, record.status, time.monotonic() - started))
    return record


def _chosen(workload: Workload, wish: Wish) -> tuple[list[FlowNode], list[Feed]]:
    wanted = _upstream(workload, {*wish.tables, *wish.refresh}) if wish.tables else None
    nodes = [node for node in workload.graph.flows if wanted is None or node.flow.target in wanted]
    sources = [source for source in workload.sources if wanted is None or source.target in wanted]
    return nodes if wish.flows else [], sources if wish.ingest else []


def _upstream(workload: Workload, tables: Collection[TableName]) -> set[TableName]:
    known = {node.flow.target for node in workload.graph.flows} | {source.target for source in workload.sources}
    unknown = sorted(set(tables) - known)
    if unknown:
        raise UnknownTable(f"no source or flow makes {unknown[0]}", "datalab pipelines list")
    wanted = set(tables)
    for node in reversed(workload.graph.flows):
        if node.flow.target in wanted:
            wanted |= {read.table for read in node.inputs}
    return wanted


def _ingest_step(context: Context, feed: Feed) -> Step:
    read = feed.pending(context)
    news = f"{read.new:,} of {read.total:,} {read.unit} are new" if read.new else f"nothing new in {read.source}"
    step = Step(feed.target, feed.name, "append", f"{feed.target}: {news}", (read,))
    return step if read.new else step.skipped(step.reason)


def _ingest_job(context: Context, feed: Feed) -> Job:
    def planned() -> Step:
        return _ingest_step(context, feed)

    return Job(feed.target, feed.name, frozenset(), planned, lambda _: feed.consume(context))


def _with_columns(step: Step, heads: Heads, workload: Workload) -> Step:
    return with_columns(step, heads.get(step.target, NO_HEAD).schema, workload.schemas.get(step.target))


def _flow_job(context: Context, node: FlowNode, refresh: Collection[TableName], workload: Workload) -> Job:
    def planned() -> Step:
        heads = read_heads(context.lake, [node])
        return _with_columns(plan_flow(node, heads, (), refresh), heads, workload)

    after = frozenset(read.table for read in node.inputs)
    return Job(node.flow.target, node.flow.name, after, planned, lambda step: execute(context, step, node.dataset))
