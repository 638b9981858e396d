"""Source `kafka`: a topic in the registry's wire format; offsets live in the table's commits and nowhere else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pyarrow as pa

from datalab.errors import Fenced
from datalab.ingest.contracts import IN_TOPIC, Contract, bronze_schema
from datalab.ingest.decode.framing import NO_SCHEMA, Schemas, distinct
from datalab.ingest.evolution import grown
from datalab.ingest.limits import Limits
from datalab.ingest.message_isolate import MessageRun, run_messages, with_run
from datalab.ingest.message_jobs import DECODE_MESSAGES, MESSAGES, MessageJob, MessagesDone
from datalab.ingest.produced import Produced
from datalab.ingest.rejected import refused_table, topic_of, unit_ending
from datalab.ingest.sources.base import Batch, Consumed, Evolved, Pending, Replayed, Run, StagedBatch
from datalab.ingest.sources.kafka_group import Member
from datalab.ingest.sources.kafka_offsets import Log, Range, offsets_after, ranges_of, stands_at, stands_in, taken_over
from datalab.ingest.sources.kafka_topic import Topic
from datalab.ingest.sources.registry import Access, Registry
from datalab.ingest.workers import Workers
from datalab.lake.table import WriteTarget

_WORTH_A_JOB = 40_000
_MOST_OF_A_JOB = 80_000  # where workers are busy anyway: fewer and larger files; more would take more memory
_BYTES_OF_A_JOB = 32 << 20
_PLACED = ["id", "unit", "source_partition", "source_offset"]


@dataclass(frozen=True)
class Cluster:
    """Where the topic is, who has its schemas, under which group the lag is told, and how long silence is endured.

    `access` has the values of `registry.Access`.
    """

    bootstrap: str
    registry: str
    group: str
    options: Mapping[str, Any] = field(default_factory=dict)
    patience: float = 30.0
    access: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Pace:
    """When a commit is due: after so many messages, or so many seconds of reading."""

    messages: int = 1_000_000
    seconds: float = 5.0


@dataclass
class KafkaSource:
    """A topic. `stop` ends a batch early: what was read until then is committed."""

    name: str
    contract: Contract
    topic: str
    cluster: Cluster
    workers: Workers
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    stop: threading.Event = field(default_factory=threading.Event)
    position: ClassVar[pa.Schema] = IN_TOPIC
    counts: ClassVar[str] = "messages"

    def __post_init__(self) -> None:
        cluster = self.cluster
        self._topic = Topic(self.topic, cluster.bootstrap, cluster.group, cluster.options, cluster.patience)
        self._registry = Registry(cluster.registry, cluster.patience, Access(**cluster.access))
        self._member: Member | None = None
        self._log = Log(self.topic, "", {})
        self._produced = Produced()
        self._seen: set[bytes] = set()

    def join(self) -> bool:
        """Share the topic's partitions with the other members of the consumer group."""
        cluster = self.cluster
        self._member = self._member or Member(self.topic, cluster.bootstrap, cluster.group, cluster.options)
        return True

    def pending(self, consumed: Consumed) -> Pending:
        """What lies between the table's offsets and the log's ends, in the partitions that are this process's own."""
        self._log = self._topic.look(self.stop)
        ranges, events = ranges_of(self.name, consumed.offsets, self._own(consumed.offsets))
        batches = (_batch(ranges),) if any(each.stop > each.start or each.lost for each in ranges) else ()
        known = sum(stands_at(consumed.offsets).values())
        return Pending(batches, consumed=known, events=events)

    def prepare(self, batch: Batch) -> None:
        """Start workers, and let messages come meanwhile."""
        self._topic.start(batch.units)
        self.workers.warm(min(self._beside, 1 + batch.count // _WORTH_A_JOB), DECODE_MESSAGES)

    def stage(self, batch: Batch, target: WriteTarget, before: Mapping[str, Any], run: Run) -> StagedBatch:
        """Read until the batch is through or a commit is due, and decode in worker processes meanwhile."""
        ranges: tuple[Range, ...] = batch.units
        self._begin(ranges, before)
        self._produced = Produced()
        try:
            done = with_run(self.workers, self._beside, lambda work: self._read(ranges, target, run, work))
        except BaseException:
            self._give_up()
            raise
        at, log = self._topic.stands(), self._log
        taken = [replace(each, stop=at[each.partition]) for each in ranges]
        rest = [
            replace(each, start=at[each.partition], stop=max(each.stop, at[each.partition]), lost=0) for each in ranges
        ]
        more = any(each.start < each.stop for each in rest) and not self._is_interrupted(ranges)
        return StagedBatch(
            add=done.data,
            rejected=refused_table(done.refused, self._flow(target), (self.topic, log.topic_id), run),
            units=(),
            within=_within(self.topic, log.topic_id, taken),
            offsets=offsets_after(log, before, at),
            details=_details(taken),
            written=done.accepted,
            quarantined=len(done.refused),
            rest=_batch(rest) if more else None,
            produced=self._produced,
            onto=lambda now: None if taken_over(ranges, log.topic_id, before, now) else offsets_after(log, now, at),
        )

    def acknowledge(self, offsets: Mapping[str, Any]) -> None:
        """Publish the group's offset, which never is ahead of the table."""
        stands = stands_at(offsets)
        if self._member is None:
            self._topic.publish(stands)
            return
        if all(stands.get(partition, 0) >= at for partition, at in self._topic.stands().items()):
            self._member.done()  # nothing was read behind it
        self._member.publish(stands)

    def replay(self, records: pa.Table, target: WriteTarget, run: Run) -> Replayed:
        """From raw bytes that were kept whole. Key, headers and timestamp are not kept in quarantine: they are null."""
        rows = [row for row in records.to_pylist() if row["raw"] and len(row["raw"]) == row["raw_size"]]
        if not rows:
            return Replayed(())
        schemas = self._schemas((_raw_messages(rows),), target)  # what a newer writer added holds here, too
        numbered = [{**row, "source_partition": 0, "source_offset": at} for at, row in enumerate(rows)]
        bad = {each.offset for each in self._decoded(numbered, schemas, None, run).refused}
        good = [row for at, row in enumerate(rows) if at not in bad]
        if not good:
            return Replayed(())
        done = self._decoded(good, schemas, target, run)
        return Replayed(tuple(row["id"] for row in good), done.data, done.accepted)

    def ahead(self, records: pa.Table, consumed: Consumed) -> frozenset[str]:
        """Entries whose offset the table has not reached. Those of a topic that is gone are never reached again."""
        known = consumed.offsets.get("topic_id", "")
        rows = [(topic_of(row["unit"]), row) for row in records.select(_PLACED).to_pylist()]
        live = known if all(topic == known for topic, _ in rows) else self._topic.look(self.stop).topic_id
        stands = {topic: stands_in(consumed.offsets, topic) for topic in (known, live)}
        return frozenset(
            row["id"]
            for topic, row in rows
            if topic in stands and row["source_offset"] >= stands[topic].get(row["source_partition"], 0)
        )

    def close(self) -> None:
        """Leave the group, and disconnect."""
        if self._member is not None:
            self._member.close()
            self._member = None
        self._topic.close()

    @property
    def _beside(self) -> int:
        """How many workers decode at once; to read takes a small part of what they take."""
        return max(1, min(self.limits.workers, os.cpu_count() or 1))

    def _flow(self, target: WriteTarget) -> tuple[str, Any, str]:
        return self.name, target.name, self.contract.schema_id

    def _own(self, offsets: Mapping[str, Any]) -> Log:
        """The part of the topic that this process is to read. What the group has not heard is told again."""
        member, log = self._member, self._log
        if member is None:
            return log
        member.done()
        owned = member.owned(self.cluster.patience, self.stop)
        if offsets.get("topic_id") == log.topic_id:
            member.publish(stands_at(offsets))
        return replace(log, partitions={each: ends for each, ends in log.partitions.items() if each in owned})

    def _begin(self, ranges: Sequence[Range], before: Mapping[str, Any]) -> None:
        if taken_over(ranges, self._log.topic_id, before, before):
            self._topic.forget()
            raise Fenced(
                f"source {self.name}: {self.topic} was consumed by another writer meanwhile",
                "nothing was written; it is planned again",
            )
        if self._member is not None:
            self._member.begin(each.partition for each in ranges)

    def _give_up(self) -> None:
        self._topic.forget()
        if self._member is not None:
            self._member.done()

    def _is_interrupted(self, ranges: Sequence[Range]) -> bool:
        kept = self._member is None or self._member.keeps(each.partition for each in ranges)
        return self.stop.is_set() or not kept

    def _read(self, ranges: Sequence[Range], target: WriteTarget, run: Run, work: MessageRun) -> None:
        held: list[pa.RecordBatch] = []
        count, total, size, began = 0, 0, 0, time.monotonic()
        for batch in self._topic.read(ranges, self.stop):
            held.append(batch)
            self._produced.add(batch.column("timestamp"))
            count, total, size = count + batch.num_rows, total + batch.num_rows, size + batch.nbytes
            full = count >= _MOST_OF_A_JOB or size >= _BYTES_OF_A_JOB
            if full or (count >= _WORTH_A_JOB and work.free):
                work.submit(self._job(held, target, run))
                held, count, size = [], 0, 0
            if total >= self.pace.messages or time.monotonic() - began >= self.pace.seconds:
                break
            if self._is_interrupted(ranges):
                break
        if held:
            work.submit(self._job(held, target, run))

    def _job(self, messages: Sequence[pa.RecordBatch], target: WriteTarget | None, run: Run) -> MessageJob:
        return self._job_of(messages, self._schemas(messages, target), target, run)

    def _job_of(
        self, messages: Sequence[pa.RecordBatch], schemas: Schemas, target: WriteTarget | None, run: Run
    ) -> MessageJob:
        return MessageJob(tuple(messages), schemas, self.contract.text, self.topic, self.limits, run.now, target)

    def _schemas(self, messages: Sequence[pa.RecordBatch], target: WriteTarget | None) -> Schemas:
        """The writers' schemas of messages; what they added is in the contract and the target. Evolved."""
        ids = {each for batch in messages for each in distinct(batch.column("value"))}
        schemas = self._registry.schemas(ids - {NO_SCHEMA}, self.stop)
        if target is not None:
            self._grow([*schemas.texts.values()], target)
        return schemas

    def _grow(self, writers: Sequence[bytes], target: WriteTarget) -> None:
        """Take optional fields that writers have and the contract does not into the contract. Evolved, if there are.

        The newest comes first: what it made wider, the older ones fit.
        """
        for text in [each for each in reversed(writers) if each not in self._seen]:
            self.contract = grown(self.contract, text.decode(), target.schema)
            self._seen.add(text)
        wanted = bronze_schema(self.contract, IN_TOPIC)
        if not _holds(target.schema, wanted):
            raise Evolved

    def _decoded(
        self, rows: Sequence[Mapping[str, Any]], schemas: Schemas, target: WriteTarget | None, run: Run
    ) -> MessagesDone:
        return run_messages(self.workers, [self._job_of([_raw_messages(rows)], schemas, target, run)], 1)


def _raw_messages(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Quarantined entries as messages again."""
    columns = {
        "value": [row["raw"] for row in rows],
        "partition": [row["source_partition"] for row in rows],
        "offset": [row["source_offset"] for row in rows],
    }
    arrays = [
        pa.array(columns[each.name], each.type) if each.name in columns else pa.nulls(len(rows), each.type)
        for each in MESSAGES
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=MESSAGES)


def _holds(present: pa.Schema, wanted: pa.Schema) -> bool:
    """Whether a table has all columns, and all fields of structs, that are wanted."""

    def inside(have: Any, want: Any) -> bool:
        if pa.types.is_struct(want):
            names = {each.name: each.type for each in have}
            return all(each.name in names and inside(names[each.name], each.type) for each in want)
        if pa.types.is_list(want):
            return inside(have.value_type, want.value_type)
        return inside(have.item_type, want.item_type) if pa.types.is_map(want) else True

    return all(each.name in present.names and inside(present.field(each.name).type, each.type) for each in wanted)


def _batch(ranges: Sequence[Range]) -> Batch:
    count = sum(each.stop - each.start for each in ranges)
    return Batch(tuple(ranges), count, f"{count:,} new message{'s' if count != 1 else ''}")


def _within(topic: str, topic_id: str, taken: Sequence[Range]) -> str:
    """The quarantined entries that consuming these ranges replaces; not those of an earlier topic of that name."""
    ending = unit_ending(topic_id)
    parts = (
        f"(source_partition = {each.partition} AND source_offset >= {each.start} AND source_offset < {each.stop})"
        for each in taken
    )
    this = f"source_topic = '{topic}' AND right(unit, {len(ending)}) = '{ending}'"
    return f"{this} AND status = 'open' AND ({' OR '.join(parts)})"


def _details(taken: Sequence[Range]) -> dict[str, Any]:
    """What one commit consumed: first and next offset of each partition, and what was lost before it."""
    found: dict[str, Any] = {"offsets": {str(each.partition): [each.start, each.stop] for each in taken}}
    lost = {str(each.partition): [each.start - each.lost, each.start] for each in taken if each.lost}
    return {**found, "lost": lost} if lost else found


def open_topic(
    name: str,
    contract: Contract,
    topic: str,
    settings: tuple[Mapping[str, Any], Mapping[str, Any]],
    decoding: tuple[Limits, Workers, threading.Event],
) -> KafkaSource:
    """The source from plain values: those of Cluster and of Pace."""
    limits, workers, stop = decoding
    return KafkaSource(name, contract, topic, Cluster(**settings[0]), workers, limits, Pace(**settings[1]), stop)
