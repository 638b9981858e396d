"""Reading a topic: how many messages are waited for, where reading stands, what is no message."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError

from datalab.errors import SourceUnavailable
from datalab.ingest.message_jobs import MESSAGES
from datalab.ingest.sources.kafka_client import Notice, Taken
from datalab.ingest.sources.kafka_offsets import Range
from datalab.ingest.sources.kafka_topic import Topic

Message = tuple[int, int]


class Client:
    """Answers what lies ready, as much as is asked for."""

    def __init__(self, ready: Sequence[Message | Notice]) -> None:
        self.ready = list(ready)
        self.asked: list[int] = []
        self.assigned: list[Mapping[int, int]] = []

    def refresh(self, topic: str, patience: float) -> None:
        raise NotImplementedError

    def assign(self, topic: str, at: Mapping[int, int]) -> None:
        self.assigned.append(dict(at))

    def consume(self, most: int) -> Taken:
        self.asked.append(most)
        found, self.ready = self.ready[:most], self.ready[most:]
        messages = [each for each in found if not isinstance(each, Notice)]
        notices = [each for each in found if isinstance(each, Notice)]
        return (batch(messages) if messages else None), notices

    def commit(self, topic: str, stands: Mapping[int, int]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def batch(messages: Sequence[Message]) -> pa.RecordBatch:
    more = {"value": b"v", "key": b"k", "headers": None}
    rows = [{"partition": each, "offset": at, "timestamp": 1_000 + at, **more} for each, at in messages]
    return pa.RecordBatch.from_pylist(rows, schema=MESSAGES)


def message(partition: int, offset: int) -> Message:
    return partition, offset


def end(partition: int, offset: int) -> Notice:
    return Notice(partition, offset, KafkaError(KafkaError._PARTITION_EOF))


def out_of_range(partition: int, offset: int) -> Notice:
    return Notice(partition, offset, KafkaError(KafkaError._AUTO_OFFSET_RESET))


def reading(ready: Sequence[Message | Notice]) -> tuple[Topic, Client]:
    topic, client = Topic("t", "nowhere:1", "g", {}, 1.0), Client(ready)
    topic._consumer = client
    return topic, client


def test_no_more_messages_are_waited_for_than_are_there() -> None:
    topic, client = reading([message(at % 2, at // 2) for at in range(30)])
    found = list(topic.read([Range(0, 0, 15), Range(1, 0, 15)], threading.Event()))
    assert [each.num_rows for each in found] == client.asked == [10, 20]
    assert topic.stands() == {0: 15, 1: 15}
    assert found[1].column("timestamp").to_pylist() == [1_000 + at // 2 for at in range(10, 30)]


def test_where_reading_stands_is_the_last_of_each_partition() -> None:
    topic, _ = reading([message(*each) for each in ((2, 4), (0, 7), (0, 9), (2, 5), (1, 0), (0, 12))])
    next(topic.read([Range(0, 7, 20), Range(1, 0, 20), Range(2, 4, 20)], threading.Event()))
    assert topic.stands() == {0: 13, 1: 1, 2: 6}


def test_time_that_the_caller_takes_is_not_the_silence_of_the_broker() -> None:
    topic, _ = reading([message(0, at) for at in range(30)])
    topic._patience = 0.05
    found = 0
    for batch in topic.read([Range(0, 0, 30)], threading.Event()):
        found += batch.num_rows
        time.sleep(0.1)
    assert found == 30


def test_an_end_behind_the_last_message_is_known_though_the_reader_goes_away() -> None:
    topic, _ = reading([message(0, 0), message(0, 1), end(0, 3), message(1, 0)])
    ranges = [Range(0, 0, 3), Range(1, 0, 5)]
    batch = next(topic.read(ranges, threading.Event()))
    assert batch.column("offset").to_pylist() == [0, 1, 0]
    assert topic.stands() == {0: 3, 1: 1}


def test_an_answer_to_what_was_asked_for_before_is_no_trouble() -> None:
    topic, client = reading([message(0, 0), out_of_range(0, 900), message(0, 1)])
    found = list(topic.read([Range(0, 0, 2)], threading.Event()))
    assert sum(each.num_rows for each in found) == 2
    assert client.assigned == [{0: 0}, {0: 1}]


def test_an_offset_that_is_gone_is_told() -> None:
    topic, _ = reading([message(0, 0), out_of_range(0, 1)])
    with pytest.raises(SourceUnavailable):
        list(topic.read([Range(0, 0, 2)], threading.Event()))
