"""Messages through confluent-kafka's own objects, one for each: works everywhere, at three times the cost."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Consumer, Message, TopicPartition

from datalab.ingest.decode.avro_columns import PADDING
from datalab.ingest.message_jobs import MESSAGES
from datalab.ingest.sources.kafka_client import TICK, UNREADABLE, Gate, Notice, Settings, Taken

_ROOM = bytes(PADDING)  # behind the last message, so that all are decoded where they lie

Longs = npt.NDArray[np.int64]


class PythonClient:
    """A `Client` of confluent-kafka's."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(dict(settings))
        self._gate = Gate()

    def refresh(self, topic: str, patience: float) -> None:
        """See Client."""
        with self._gate.passed():
            self._consumer.list_topics(topic, timeout=patience)

    def assign(self, topic: str, at: Mapping[int, int]) -> None:
        """See Client."""
        with self._gate.passed():
            self._consumer.assign([TopicPartition(topic, *each) for each in at.items()])

    def consume(self, most: int) -> Taken:
        """See Client."""
        with self._gate.passed(), unsearched():
            return _consumed(self._consumer, most)

    def commit(self, topic: str, stands: Mapping[int, int]) -> None:
        """See Client."""
        offsets = [TopicPartition(topic, *each) for each in stands.items()]
        with self._gate.passed():
            self._consumer.commit(offsets=offsets, asynchronous=False)

    def close(self) -> None:
        """See Client."""
        if self._gate.close():
            self._consumer.close()


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


def _consumed(consumer: Consumer, most: int) -> Taken:
    messages, others = consumer.consume(most, timeout=TICK), list[Notice]()
    moments = _moments(messages)
    if moments.min(initial=0) < 0:  # errors have none, but nor have messages of old brokers
        others = [_notice(each) for each in messages if each.error() is not None]
        messages = [each for each in messages if each.error() is None]
        moments = _moments(messages)
    return _as_arrow(messages, moments) if messages else None, others


def _notice(message: Message) -> Notice:
    error, partition, offset = message.error(), message.partition(), message.offset()
    assert error is not None
    return Notice(-1 if partition is None else partition, -1 if offset is None else offset, error)


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
