"""A topic through confluent-kafka: what it holds, its messages as Arrow, and the consumer group's offset."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from datalab.errors import SourceUnavailable
from datalab.ingest.decode.avro_columns import PADDING
from datalab.ingest.message_jobs import MESSAGES
from datalab.ingest.sources.kafka_offsets import Log, Range

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
    "queued.max.messages.kbytes": 8_192,
    "queued.min.messages": 100_000,
}
_AT_ONCE = 25_000  # larger batches decode little faster, and take more memory in both processes
_BYTES_AT_ONCE = 16 << 20
_FIRST = 10  # until it is known how large messages are
_TICK = 0.2
UNREADABLE = "(not UTF-8)"  # stands for the headers of a message that cannot be told
_ROOM = bytes(PADDING)  # behind the last message, so that all are decoded where they lie

Longs = npt.NDArray[np.int64]


class Topic:
    """One topic. Connects when it is first asked; `patience` is how many seconds it waits for a silent broker."""

    def __init__(self, topic: str, bootstrap: str, group: str, options: Mapping[str, Any], patience: float) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._patience = patience
        self._client = {**options, "bootstrap.servers": bootstrap, "log_level": 0}
        self._settings = {**_SETTINGS, **options, "bootstrap.servers": bootstrap, "group.id": group}
        self._consumer: Consumer | None = None
        self._at: dict[int, int] = {}
        self._at_once = _FIRST

    def look(self) -> Log:
        """What the topic holds now. SourceUnavailable where the broker does not say."""
        consumer = self._connected()
        try:
            admin = AdminClient(self._client)  # must live until its answer is there
            found = admin.describe_topics(TopicCollection([self.topic]), request_timeout=self._patience)
            described = found[self.topic].result()
            consumer.list_topics(self.topic, timeout=self._patience)  # new partitions become known to it
            places = [TopicPartition(self.topic, each.id) for each in described.partitions]
            first, ends = (self._offsets(admin, places, at) for at in _ends())
            partitions = {each: (first[each], ends[each]) for each in first}
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        return Log(self.topic, str(described.topic_id), partitions)

    def _offsets(self, admin: AdminClient, places: Sequence[TopicPartition], at: OffsetSpec) -> dict[int, int]:
        """The first or the last offset of each partition, all with one request to a broker; of committed messages."""
        asked = dict.fromkeys(places, at)
        found = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._patience)
        return {place.partition: int(answer.result().offset) for place, answer in found.items()}

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
            with unsearched():
                batch, ended = _consumed(consumer, most)
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
        offsets = [TopicPartition(self.topic, partition, offset) for partition, offset in stands.items()]
        with suppress(KafkaException):
            self._connected().commit(offsets=offsets, asynchronous=False)

    def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _connected(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(self._settings)
        return self._consumer

    def _positioned(self, ranges: Sequence[Range]) -> Consumer:
        consumer = self._connected()
        wanted = {each.partition: each.start for each in ranges}
        if wanted != self._at:
            self._at = wanted
            self._assign(consumer)
        return consumer

    def _assign(self, consumer: Consumer) -> None:
        consumer.assign([TopicPartition(self.topic, *each) for each in self._at.items()])

    def _note(self, batch: pa.RecordBatch) -> None:
        partitions, offsets = (batch.column(name).to_numpy() for name in ("partition", "offset"))
        last = np.append(np.flatnonzero(np.diff(partitions)), len(partitions) - 1)  # of each run of one partition
        self._at.update(zip(partitions[last].tolist(), (offsets[last] + 1).tolist(), strict=True))

    def _ended(self, message: Message) -> tuple[int, int] | None:
        """The end of a partition, which markers of transactions may put behind its last message."""
        error = message.error()
        assert error is not None
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - so it is called
            return int(message.partition()), int(message.offset())  # type: ignore[arg-type]
        if error.retriable() or error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):  # noqa: SLF001
            return None
        stands = self._at.get(message.partition())  # type: ignore[arg-type]
        if error.code() == KafkaError._AUTO_OFFSET_RESET and message.offset() != stands:  # noqa: SLF001
            self._assign(self._connected())  # it was asked for before reading was told to begin elsewhere
            return None
        raise self._unavailable(error)

    def _unavailable(self, error: KafkaError) -> SourceUnavailable:
        words = f"Kafka at {self._bootstrap} does not answer for {self.topic}: {error.str()}"
        return SourceUnavailable(words, "is the broker up, and has it the topic? datalab services health kafka")


def _ends() -> tuple[OffsetSpec, OffsetSpec]:
    return OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]


@contextmanager
def unsearched() -> Iterator[None]:
    """No search for circles of values meanwhile: thousands of messages would set it off dozens of times a batch.

    They hold none, and are gone when this ends.
    """
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()


def _consumed(consumer: Consumer, most: int) -> tuple[pa.RecordBatch | None, list[Message]]:
    """The next messages, if any come: as soon as there are so many, or after a tick; and what is none but an error."""
    messages, others = consumer.consume(most, timeout=_TICK), list[Message]()
    moments = _moments(messages)
    if moments.min(initial=0) < 0:  # errors have none, but nor have messages of old brokers
        others = [each for each in messages if each.error() is not None]
        messages = [each for each in messages if each.error() is None]
        moments = _moments(messages)
    return _as_arrow(messages, moments) if messages else None, others


def _moments(messages: Sequence[Message]) -> Longs:
    return np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, len(messages))


def _as_arrow(messages: Sequence[Message], moments: Longs) -> pa.RecordBatch:
    count = len(messages)
    partitions = np.fromiter(map(Message.partition, messages), np.int32, count)
    columns = [
        _binary(list(map(Message.value, messages))),
        pa.array(partitions),
        pa.array(_offsets(messages, partitions)),
        pa.array(moments),
        _binary(list(map(Message.key, messages))),
        _headers(_told(messages)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MESSAGES)


def _offsets(messages: Sequence[Message], partitions: npt.NDArray[np.int32]) -> Longs:
    """Those of a partition rise: where a run of its messages spans as many as they are, only its ends are asked."""
    found = np.empty(len(messages), dtype=np.int64)
    borders = [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), len(messages)]
    for start, stop in pairwise(borders):
        first, last = (messages[at].offset() or 0 for at in (start, stop - 1))
        if last - first == stop - start - 1:
            found[start:stop] = np.arange(first, last + 1)
        else:
            found[start:stop] = np.fromiter(map(Message.offset, messages[start:stop]), np.int64, stop - start)
    return found


def _binary(values: Sequence[Any]) -> pa.Array:
    """Joined by Python, which is twice as fast as Arrow's own conversion; that one takes what is not all bytes."""
    try:
        joined = b"".join([*values, _ROOM])
    except TypeError:
        return pa.array([_bytes(value) for value in values], pa.large_binary())
    ends = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=ends[1:])
    return pa.Array.from_buffers(pa.large_binary(), len(values), [None, pa.py_buffer(ends), pa.py_buffer(joined)])


def _told(messages: Sequence[Message]) -> list[Any]:
    """The headers of each message. Where a name is not UTF-8 the client fails; asked again, it would crash."""
    told, left = list[Any](), iter(messages)
    while len(told) < len(messages):
        try:
            told.extend(map(Message.headers, left))
        except (SystemError, UnicodeDecodeError):  # those before it are there, and it has been passed
            told.append([(UNREADABLE, None)])
    return told


def _headers(headers: Sequence[Any]) -> pa.Array:
    if not any(headers):
        return pa.nulls(len(headers), MESSAGES.field("headers").type)
    rows = [[{"name": name, "value": _bytes(value)} for name, value in each] if each else None for each in headers]
    return pa.array(rows, MESSAGES.field("headers").type)


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
