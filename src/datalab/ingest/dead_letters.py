"""A topic of records that could not be accepted, fed exactly once from the quarantine table, which stays the truth.

What was sent is known from the topic alone: each message names the snapshot of the quarantine that its transaction
brought the topic up to. A transaction is there as a whole or not at all, so nothing is sent twice and nothing is lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from datalab.errors import SourceError

SNAPSHOT, IDENTITY = "datalab.quarantine.snapshot", "datalab.quarantine.id"
_TIMEOUT = 10.0
_PAUSE = 0.1
_TAIL = 50  # more than the markers of transactions that may stand behind the last message


@dataclass(frozen=True)
class Letter:
    """One quarantined record: its id, its bytes, and the headers that say where it came from and why it is here."""

    identity: str
    value: bytes | None
    headers: Mapping[str, str]


class DeadLetterTopic:
    """The topic of one source. One writer at a time: a newer one fences those before it."""

    def __init__(self, bootstrap: str, topic: str, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._client = {**options, "bootstrap.servers": bootstrap, "log_level": 0}
        self._where = f"{topic} at {bootstrap}"
        self._producer: Producer | None = None

    def take_over(self) -> None:
        """Become the topic's writer: what an earlier one left open is given up, and it cannot go on."""
        with self._faults():
            producer = Producer({**self._client, "transactional.id": f"datalab-{self._topic}"})
            self._make_topic()
            producer.init_transactions(_TIMEOUT)
        self._producer = producer

    def last(self) -> int | None:
        """The snapshot of the quarantine that the topic stands at; None where nothing was ever sent."""
        messages = list(self._messages(_TAIL))
        return int(_header(messages[-1], SNAPSHOT)) if messages else None

    def identities(self) -> frozenset[str]:
        """The ids of all records in the topic."""
        return frozenset(_header(message, IDENTITY) for message in self._messages(None))

    def send(self, letters: Sequence[Letter], snapshot: int) -> None:
        """Send all letters in one transaction that brings the topic up to `snapshot`. SourceError: none was sent."""
        producer = self._producer
        assert producer is not None, "take_over comes first"
        with self._faults():
            producer.begin_transaction()
            for letter in letters:
                headers = {**letter.headers, IDENTITY: letter.identity, SNAPSHOT: str(snapshot)}
                # A record without bytes, as a row of a flow, must not become a tombstone.
                producer.produce(self._topic, value=letter.value or b"", headers=list(headers.items()))
                producer.poll(0)
            producer.commit_transaction(_TIMEOUT)

    def _messages(self, last: int | None) -> Iterator[Message]:
        """The committed messages of the topic, or those among its last few places."""
        with self._faults(), self._consumer() as consumer:
            low, high = self._bounds(consumer)
            start = OFFSET_BEGINNING if last is None else max(low, high - last)
            consumer.assign([TopicPartition(self._topic, 0, start)])
            deadline = time.monotonic() + _TIMEOUT
            while high > low and _position(consumer, self._topic) < high:
                found = consumer.consume(10_000, 0.2)
                if found:
                    deadline = time.monotonic() + _TIMEOUT
                elif time.monotonic() > deadline:
                    raise SourceError(f"the topic {self._where} cannot be read to its end", "is a broker down?")
                yield from (message for message in found if message.error() is None)

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        settings = {"group.id": uuid4().hex, "isolation.level": "read_committed", "enable.auto.commit": False}
        consumer = Consumer({**self._client, **settings})
        try:
            yield consumer
        finally:
            consumer.close()

    def _make_topic(self) -> None:
        """One partition: the order of transactions is what tells how far the topic is."""
        admin = AdminClient(self._client)
        found = admin.list_topics(timeout=_TIMEOUT).topics.get(self._topic)
        if found is None:
            admin.create_topics([NewTopic(self._topic, 1, 1)])[self._topic].result(_TIMEOUT)
        elif len(found.partitions) > 1:
            raise SourceError(
                f"the dead letter topic {self._topic} has {len(found.partitions)} partitions", "make one of a single"
            )

    def _bounds(self, consumer: Consumer) -> tuple[int, int]:
        """The first and the next offset; a topic that was just made takes a moment to answer."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                low, high = consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=_TIMEOUT)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return int(low), int(high)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise SourceError(
                f"the dead letter topic {self._where} cannot be used: {error.args[0].str()}", "the next run tries again"
            ) from error


def _position(consumer: Consumer, topic: str) -> int:
    (place,) = consumer.position([TopicPartition(topic, 0)])
    return int(place.offset)


def _header(message: Message, name: str) -> str:
    found: dict[str, Any] = dict(message.headers() or [])
    value = found.get(name)
    if value is None:
        raise SourceError(
            f"{message.topic()} has a message that DataLab did not send", "a dead letter topic belongs to one source"
        )
    return value.decode() if isinstance(value, bytes) else value
