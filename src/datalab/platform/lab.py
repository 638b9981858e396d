"""The facade: one project in one environment, its parts opened when they are first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from datalab.engine.base import Engine
from datalab.events import Bus
from datalab.ingest.validate import Validated
from datalab.ingest.workers import Workers
from datalab.lake.lake import Lake
from datalab.names import TableName
from datalab.pipelines.context import Context, new_context
from datalab.pipelines.run import RunOptions
from datalab.platform.announce import announce
from datalab.platform.dead_letters import send_dead_letters
from datalab.platform.feeds import SourceFeed, chosen_feeds, prepare_feeds, validate_files, wire_feeds, wire_workers
from datalab.platform.settings import Configuration
from datalab.platform.wiring import wire_engine, wire_lake
from datalab.platform.wish import Wish
from datalab.plugins import deferred

if TYPE_CHECKING:
    import pyarrow as pa

    from datalab.pipelines.graph import Graph
    from datalab.pipelines.records import RunRecord
    from datalab.pipelines.steps import Step
    from datalab.platform import graphs, masking, queries, runs
else:  # they need a parser of SQL, which most of what a project is opened for does not
    graphs, masking, queries, runs = (
        deferred(f"datalab.platform.{name}") for name in ("graphs", "masking", "queries", "runs")
    )


class Lab:
    """A project opened for work. Use it as a context manager: the engine must be closed before the process ends."""

    def __init__(self, configuration: Configuration, environ: Mapping[str, str] | None = None) -> None:
        self.configuration = configuration
        self.bus = Bus()
        self.stopping = threading.Event()
        self.environ = os.environ if environ is None else environ

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the engine and the decoding workers, if they were used."""
        if "feeds" in self.__dict__:
            for feed in self.feeds:
                feed.close()
        if "workers" in self.__dict__:
            self.workers.close()
        if "engine" in self.__dict__:
            self.engine.close()

    @cached_property
    def lake(self) -> Lake:
        """The project's tables."""
        return wire_lake(self.configuration, self.environ, self.bus)

    @cached_property
    def engine(self) -> Engine:
        """Who computes."""
        return wire_engine(self.configuration)

    @cached_property
    def feeds(self) -> tuple[SourceFeed, ...]:
        """The sources with the tables that they feed. ContractError."""
        return wire_feeds(
            self.configuration, self.lake, self.engine, self.workers, self.bus, self.stopping, self.environ
        )

    def feeds_of(self, tables: Sequence[TableName]) -> tuple[SourceFeed, ...]:
        """The sources that feed some tables; all if none are named. UnknownTable."""
        return chosen_feeds(self.feeds, tables)

    @cached_property
    def workers(self) -> Workers:
        """The processes that decode what sources bring."""
        return wire_workers(self.configuration)

    @property
    def graph(self) -> Graph:
        """The pipelines, parsed, resolved and bound against their inputs: nothing wrong is left. PipelineError."""
        return self._checked[0]

    @cached_property
    def _checked(self) -> tuple[Graph, Mapping[TableName, pa.Schema]]:
        schemas = {feed.target: feed.schema for feed in self.feeds}
        graph = graphs.wire_graph(self.configuration, {*schemas, *self.lake.names()})
        return graph, graphs.check_graph(self.configuration, graph, self.engine, self.lake, schemas)

    def workload(self, wish: Wish) -> runs.Workload:
        """What there is to run. Pipelines that are not wanted are not looked at: taking records in needs none."""
        environment = self.configuration.environment or ""
        if wish.of_sources_alone(feed.target for feed in self.feeds):
            return runs.Workload(self.feeds, environment=environment)
        return runs.Workload(self.feeds, *self._checked, environment)

    def context(self) -> Context:
        """A run's context: a new id, this moment."""
        return new_context(self.lake, self.engine)

    def plan(self, wish: Wish) -> tuple[Step, ...]:
        """What a run would do now; nothing is written."""
        return runs.plan_run(self.context(), self.workload(wish), wish)

    def run(self, wish: Wish) -> RunRecord:
        """Ingest and pipelines, then the report and the notification; failures of steps are in the record."""
        context, chosen = self.context(), self.configuration.settings.run
        options = RunOptions(context.run_id, chosen.parallel, chosen.retries)
        if wish.ingest:
            prepare_feeds(self.feeds, wish.tables, context)
        record = runs.run(context, self.workload(wish), wish, self.bus, options)
        if wish.ingest:
            self.send_dead_letters(context)
        announce(self.configuration, record, lambda sql: self.query(sql).read_all(), self.bus)
        return record

    def send_dead_letters(self, context: Context) -> None:
        """Bring the dead letter topics of the sources up to date."""
        send_dead_letters(self.configuration, context, self.environ, self.bus)

    def query(self, sql: str, at: queries.Moment | None = None) -> pa.RecordBatchReader:
        """The rows of a SELECT in the Spark dialect, now or as of an earlier moment."""
        return queries.ask(self.lake, self.engine, sql, datetime.now(UTC), at)

    @property
    def personal_fields(self) -> tuple[str, ...]:
        """Names of all fields that a contract tags as personal data, and of columns that flows make of them."""
        tagged = {field for feed in self.feeds for field in feed.personal_fields}
        if not tagged:
            return ()
        graph = graphs.wire_graph(self.configuration, {*(feed.target for feed in self.feeds), *self.lake.names()})
        return tuple(sorted(masking.personal_columns((node.query for node in graph.flows), tagged)))

    def validate(self, source: str, files: Sequence[Path]) -> tuple[Validated, ...]:
        """What ingest would say of files, without taking them in. UnknownSetting for a source that is not there."""
        return validate_files(self.configuration, source, files)

    def tables(self) -> tuple[TableName, ...]:
        """All tables of the lake, sorted."""
        return self.lake.names()
