"""Sources with the tables that they feed: wired from settings, run as jobs, committed batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic, time

import pyarrow as pa

from datalab.engine.base import Engine, Staged
from datalab.errors import DataLabError, InvalidSetting, UnknownSetting, UnknownTable
from datalab.events import BatchLanded, Bus, Progress
from datalab.ingest.contracts import bronze_schema, read_contract
from datalab.ingest.ingest import (
    IngestStaged,
    consumed,
    ignored_events,
    ingest,
    offsets_of,
    replay,
    source_positions,
)
from datalab.ingest.limits import Limits
from datalab.ingest.push.journal import seal_left
from datalab.ingest.sources.base import Consumed, Evolved, Pending, Run, Source
from datalab.ingest.sources.files import FilesSource
from datalab.ingest.sources.listing import list_files
from datalab.ingest.validate import Validated, validate
from datalab.ingest.workers import Workers
from datalab.lake.lake import Lake
from datalab.lake.schema import difference, extend
from datalab.lake.table import PartitionField, TableSpec, TableState, reads_nothing
from datalab.names import TableName
from datalab.pipelines.context import Context
from datalab.pipelines.outcome import Outcome
from datalab.pipelines.steps import SourceRead
from datalab.platform.landing import Course, Landing
from datalab.platform.project import PUSHED
from datalab.platform.settings import Configuration
from datalab.platform.settings_schema import IngestSettings, SourceSettings
from datalab.platform.topics import Decoding, client_options, registry_access, require_topic_name, wire_topic
from datalab.quality.publish import Publication, publish
from datalab.quality.replay import Restaged


@dataclass(frozen=True)
class SourceFeed:
    """A source and the bronze table that it feeds."""

    source: Source
    target: TableName
    partition: tuple[PartitionField, ...]
    comment: str
    lake: Lake
    engine: Engine
    bus: Bus
    _looked: dict[str, tuple[int | None, Pending]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The source's name, which is the name of its flow too."""
        return self.source.name

    @property
    def schema(self) -> pa.Schema:
        """The columns of the bronze table."""
        return bronze_schema(self.source.contract, self.source.position)

    @property
    def personal_fields(self) -> tuple[str, ...]:
        """Names of the fields that the contract tags as personal data."""
        return tuple(path.rpartition(".")[2] for path in self.source.contract.personal)

    def prepare(self, context: Context) -> None:
        """Start early what consuming will need, if there is anything to consume. What is wrong the step will tell."""
        with suppress(DataLabError):
            pending = self._pending(self.lake.state(self.target), context)
            if pending.batches:
                self.source.prepare(pending.batches[0])

    def pending(self, context: Context) -> SourceRead:
        """What the source has that the table has not consumed; tells of files that it does not take."""
        state = self.lake.state(self.target)
        pending = self._pending(state, context)
        for event in ignored_events(self.name, pending.ignored):
            self.bus.emit(event)
        new = sum(batch.count for batch in pending.batches)
        return SourceRead(self.name, self.source.counts, new, new + pending.consumed)

    def consume(self, context: Context) -> Outcome:
        """Take in all that is pending, a commit per batch."""
        self.prepare(context)
        state = self.ready()
        pending = self._pending(state, context)
        for event in pending.events:
            self.bus.emit(event)
        total = sum(batch.count for batch in pending.batches)
        outcome, waiting = Outcome(state.snapshot), deque(pending.batches)
        with Landing(self._course(context), state) as landing:
            while waiting:
                batch = waiting.popleft()
                try:
                    run = Run(context.run_id, context.now)
                    staged = ingest(self.source, batch, landing.state, run, landing.offsets)
                except Evolved:
                    landing.settle()
                    landing.renew(self.ready())
                    waiting.appendleft(batch)
                    continue
                for event in staged.events:
                    self.bus.emit(event)
                if staged.rest is not None and not staged.empty:
                    waiting.appendleft(staged.rest)
                left = sum(each.count for each in waiting)
                self.bus.emit(Progress(f"{self.source.counts} of {self.name}", total - left, total))
                if not staged.empty:
                    landing.commit(staged, left)
                    outcome = _plus(outcome, staged.provenance.written, staged.provenance.quarantined)
        return replace(outcome, snapshot=landing.state.snapshot)

    def _course(self, context: Context) -> Course:
        def publish(state: TableState, staged: IngestStaged, left: int) -> TableState:
            return self._publish(context, state, staged, left)

        def discard(staged: IngestStaged) -> None:
            self.engine.discard(Staged(staged.add))

        return Course(publish, self.source.acknowledge, discard, lambda state: offsets_of(self.name, state))

    def _publish(self, context: Context, state: TableState, staged: IngestStaged, left: int) -> TableState:
        appended = Staged(staged.add, meets=reads_nothing)
        publication = Publication(state, staged.provenance, staged.rejected, appended, staged.onto)
        began = monotonic()
        after = publish(self.lake, self.engine, publication, context.now)
        seconds = monotonic() - began
        ages = staged.produced.ages(time()) if staged.produced is not None else {}
        made = staged.provenance
        counts = (made.read, made.written, made.quarantined)
        self.bus.emit(BatchLanded(self.name, str(self.target), *counts, seconds, left, ages))
        return after

    def join(self) -> bool:
        """Share the source with other processes that follow it, where it can be shared; whether it is."""
        return self.source.join()

    def restage(self, context: Context, state: TableState, records: pa.Table) -> Restaged:
        """Quarantined records of this source, decoded again under the present contract."""
        return replay(self.source, state, records, Run(context.run_id, context.now))

    def ahead(self, context: Context, state: TableState, records: pa.Table) -> frozenset[str]:
        """Ids of quarantined records that the table has not consumed: the next run will come to them."""
        return self.source.ahead(records, self._consumed(state, context))

    def close(self) -> None:
        """End the source's processes and connections."""
        self.source.close()

    def ready(self) -> TableState:
        """The bronze table, made or grown to the contract where that is needed."""
        state = self.lake.state(self.target)
        if state is not None and not difference(state.schema, extend(state.schema, self.schema, keep_missing=True)):
            return state
        return self.lake.define(self.target, TableSpec(self.schema, self.partition, self.comment), keep_missing=True)

    def _pending(self, state: TableState | None, context: Context) -> Pending:
        """What is pending at a state; within a run looked up once, as long as nobody else commits."""
        snapshot = state.snapshot if state else None
        found = self._looked.get(context.run_id)
        if found is None or found[0] != snapshot:
            found = snapshot, self._look(state, context)
            self._looked.clear()
            self._looked[context.run_id] = found
        return found[1]

    def _look(self, state: TableState | None, context: Context) -> Pending:
        return self.source.pending(self._consumed(state, context))

    def _consumed(self, state: TableState | None, context: Context) -> Consumed:
        history = self.lake.history(state) if state else ()

        def rows() -> pa.Table:
            assert state is not None
            run = Run(context.run_id, context.now)
            return source_positions(self.engine, self.lake.files(state), run)

        return consumed(self.name, state, history, rows)


def wire_feeds(
    configuration: Configuration,
    lake: Lake,
    engine: Engine,
    workers: Workers,
    bus: Bus,
    stopping: Event,
    environ: Mapping[str, str],
) -> tuple[SourceFeed, ...]:
    """All sources of a project; they share the decoding `workers`, which stay with their owner. ContractError.

    Sources that wait for records go on until `stopping` is set.
    """
    settings = configuration.settings
    options = client_options(configuration, environ)
    access = registry_access(configuration, environ)
    decoding = Decoding(limits_of(settings.ingest), workers, stopping, options, access)
    return tuple(
        SourceFeed(
            wired,
            source.into,
            source.partition_by,
            source.comment,
            lake,
            engine,
            bus,
        )
        for name, source in settings.sources.items()
        for wired in _wire_sources(name, source, configuration, decoding)
    )


def chosen_feeds(feeds: Sequence[SourceFeed], tables: Sequence[TableName]) -> tuple[SourceFeed, ...]:
    """The sources that feed some tables; all if none are named. UnknownTable."""
    unknown = sorted(set(tables) - {feed.target for feed in feeds})
    if unknown:
        raise UnknownTable(f"no source feeds {unknown[0]}", "datalab config show")
    return tuple(feed for feed in feeds if not tables or feed.target in tables)


def prepare_feeds(feeds: Sequence[SourceFeed], targets: Sequence[TableName], context: Context) -> None:
    """Let the sources of some tables (none named: all) start what takes long, while other things are made ready."""
    for feed in feeds:
        if not targets or feed.target in targets:
            feed.prepare(context)


def wire_workers(configuration: Configuration) -> Workers:
    """The decoding processes of a project; none is started before there is something to decode."""
    limits = limits_of(configuration.settings.ingest)
    return Workers(limits.workers, limits.worker_memory)


def validate_files(configuration: Configuration, name: str, files: Sequence[Path]) -> tuple[Validated, ...]:
    """What ingest would say of files under a source's contract; all files of the source if none are named."""
    source = source_named(configuration, name)
    folder = configuration.folder
    found = list_files(folder, source.files) if source.files and not files else ()
    paths = tuple(files) or tuple(Path(each.path) for each in found)
    contract = read_contract(source.contract, _shown(source.contract, folder))
    return validate(paths, contract, source.format, limits_of(configuration.settings.ingest))


def source_named(configuration: Configuration, name: str) -> SourceSettings:
    """The settings of one source; UnknownSetting, with the nearest name."""
    sources = {str(known): source for known, source in configuration.settings.sources.items()}
    if name not in sources:
        near = get_close_matches(name, sources, n=1)
        hint = f"did you mean {near[0]}?" if near else f"sources of this project: {', '.join(sources) or 'none'}"
        raise UnknownSetting(f"no source '{name}' in datalab.yaml", hint)
    return sources[name]


def limits_of(settings: IngestSettings) -> Limits:
    """The bounds of ingest, as set."""
    return Limits(
        workers=settings.workers,
        worker_memory=settings.worker_memory.bytes,
        worker_seconds=settings.worker_seconds,
        batch_files=settings.batch_files,
        batch_bytes=settings.batch_size.bytes,
        record_bytes=settings.record_size.bytes,
        block_bytes=settings.block_size.bytes,
    )


def _wire_sources(
    name: str, source: SourceSettings, configuration: Configuration, decoding: Decoding
) -> Iterator[Source]:
    if source.dead_letter is not None:
        require_topic_name(f"sources.{name}.dead_letter", source.dead_letter)
    folder, limits, workers = configuration.folder, decoding.limits, decoding.workers
    contract = read_contract(source.contract, _shown(source.contract, folder))
    if source.topic is not None:
        yield wire_topic(name, contract, source.topic, configuration.settings, decoding)
    elif source.files is not None:
        yield FilesSource(name, contract, folder, source.files, source.format, limits, workers)
    if source.push:
        seal = partial(seal_left, folder / PUSHED / name)
        yield FilesSource(f"{name}_push", contract, folder, f"{PUSHED}/{name}/*", None, limits, workers, seal)
    if source.files is None and source.topic is None and not source.push:
        raise InvalidSetting(
            f"sources.{name} has no files, no topic and no push", f"add files: landing/{name}/*.avro, for example"
        )


def _shown(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _plus(outcome: Outcome, written: int, quarantined: int) -> Outcome:
    rejected = outcome.quarantined + quarantined
    return Outcome(outcome.snapshot, outcome.read + written + quarantined, outcome.written + written, rejected)
