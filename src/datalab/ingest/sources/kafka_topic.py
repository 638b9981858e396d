"""A topic through confluent-kafka: what it holds, its messages as Arrow, and the consumer group's offset."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from datalab.errors import SourceUnavailable
from datalab.ingest.sources.kafka_client import Client, Notice, client_of
from datalab.ingest.sources.kafka_offsets import Log, Range
from datalab.ingest.sources.waiting import TICK, answered, require_going_on

_SETTINGS: Mapping[str, Any] = {
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "fetch.min.bytes": 262_144,
    "fetch.queue.backoff.ms": 10,  # the default of 1000 lets a fast consumer mostly sleep
    "fetch.wait.max.ms": 20,
    "log_level": 0,
    "max.partition.fetch.bytes": 1_048_576,
    "queued.max.messages.kbytes": 4_096,
    "queued.min.messages": 100_000,
}
_AT_ONCE = 20_000  # larger batches decode little faster, and take more memory in all processes
_BYTES_AT_ONCE = 16 << 20
_SILENT = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)  # noqa: SLF001 - so they are called
_FIRST = 10  # until it is known how large messages are


class Topic:
    """One topic. Connects when it is first asked; `patience` is how many seconds it waits for a silent broker."""

    def __init__(self, topic: str, bootstrap: str, group: str, options: Mapping[str, Any], patience: float) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._patience = patience
        self._client = {**options, "bootstrap.servers": bootstrap, "log_level": 0}
        self._settings = {**_SETTINGS, **options, "bootstrap.servers": bootstrap, "group.id": group}
        self._consumer: Client | None = None
        self._at: dict[int, int] = {}
        self._at_once = _FIRST

    def look(self, stop: threading.Event) -> Log:
        """What the topic holds now. SourceUnavailable where the broker does not say, or not before `stop`."""
        consumer = self._connected()
        try:
            admin = AdminClient(self._client)  # must live until its answer is there
            found = admin.describe_topics(TopicCollection([self.topic]), request_timeout=self._patience)
            described = answered(found[self.topic], stop, self._bootstrap)
            self._refresh(consumer, stop)  # new partitions become known to it
            places = [TopicPartition(self.topic, each.id) for each in described.partitions]
            first, ends = (self._offsets(admin, places, at, stop) for at in _ends())
            partitions = {each: (first[each], ends[each]) for each in first}
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        return Log(self.topic, str(described.topic_id), partitions)

    def _refresh(self, consumer: Client, stop: threading.Event) -> None:
        """In small steps, between which it may `stop`."""
        end = time.monotonic() + self._patience
        while True:
            require_going_on(stop, self._bootstrap)
            try:
                return consumer.refresh(self.topic, min(1.0, self._patience))
            except KafkaException as error:
                if error.args[0].code() not in _SILENT or time.monotonic() > end:
                    raise
            stop.wait(TICK)

    def _offsets(
        self, admin: AdminClient, places: Sequence[TopicPartition], at: OffsetSpec, stop: threading.Event
    ) -> dict[int, int]:
        """The first or the last offset of each partition, all with one request to a broker; of committed messages."""
        asked = dict.fromkeys(places, at)
        found = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._patience)
        return {place.partition: int(answered(each, stop, self._bootstrap).offset) for place, each in found.items()}

    def start(self, ranges: Sequence[Range]) -> None:
        """Let the messages of ranges come that will be read soon."""
        self._positioned(ranges)

    def read(self, ranges: Sequence[Range], stop: threading.Event) -> Iterator[pa.RecordBatch]:
        """Messages (MESSAGES) of the ranges as they come, and what lies behind them; until all were reached, or `stop`.

        A caller that has enough goes away. SourceUnavailable where nothing comes.
        """
        consumer = self._positioned(ranges)
        left = {each.partition: each.stop for each in ranges if each.start < each.stop}
        last = time.monotonic()
        while left and not stop.is_set():
            most = min(self._at_once, sum(end - self._at[partition] for partition, end in left.items()))
            batch, ended = consumer.consume(most)
            if batch is not None:
                self._at_once = max(1, min(_AT_ONCE, _BYTES_AT_ONCE * batch.num_rows // batch.nbytes))
                self._note(batch)
            ends = filter(None, map(self._ended, ended))
            self._at.update({partition: end for partition, end in ends if end > self._at[partition]})
            if batch is not None:
                yield batch
                last = time.monotonic()  # what the caller took for it is not the broker's silence
            left = {partition: end for partition, end in left.items() if self._at[partition] < end}
            if time.monotonic() - last > self._patience:
                raise SourceUnavailable(f"nothing comes from {self._bootstrap} for {self.topic}", "is the broker up?")

    def stands(self) -> Mapping[int, int]:
        """The next offset of each partition that is being read."""
        return dict(self._at)

    def forget(self) -> None:
        """What was read will be read again: the next `read` starts where it is told."""
        self._at = {}

    def publish(self, stands: Mapping[int, int]) -> None:
        """Tell the consumer group's offset to whoever watches the lag; it counts for nothing else, and may fail."""
        with suppress(KafkaException):
            self._connected().commit(self.topic, stands)

    def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _connected(self) -> Client:
        if self._consumer is None:
            self._consumer = client_of(self._settings)
        return self._consumer

    def _positioned(self, ranges: Sequence[Range]) -> Client:
        consumer = self._connected()
        wanted = {each.partition: each.start for each in ranges}
        if wanted != self._at:
            self._at = wanted
            consumer.assign(self.topic, self._at)
        return consumer

    def _note(self, batch: pa.RecordBatch) -> None:
        partitions, offsets = (batch.column(name).to_numpy() for name in ("partition", "offset"))
        last = np.append(np.flatnonzero(np.diff(partitions)), len(partitions) - 1)  # of each run of one partition
        self._at.update(zip(partitions[last].tolist(), (offsets[last] + 1).tolist(), strict=True))

    def _ended(self, notice: Notice) -> tuple[int, int] | None:
        """The end of a partition, which markers of transactions may put behind its last message."""
        code = notice.error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - so it is called
            return notice.partition, notice.offset
        if notice.error.retriable() or code in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):  # noqa: SLF001
            return None
        if code == KafkaError._AUTO_OFFSET_RESET and notice.offset != self._at.get(notice.partition):  # noqa: SLF001
            # It was asked for before reading was told to begin elsewhere.
            self._connected().assign(self.topic, self._at)
            return None
        raise self._unavailable(notice.error)

    def _unavailable(self, error: KafkaError) -> SourceUnavailable:
        words = f"Kafka at {self._bootstrap} does not answer for {self.topic}: {error.str()}"
        return SourceUnavailable(words, "is the broker up, and has it the topic? datalab services health kafka")


def _ends() -> tuple[OffsetSpec, OffsetSpec]:
    return OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
