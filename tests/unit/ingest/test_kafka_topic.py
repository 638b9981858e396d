"""Messages of the client to Arrow: how many are waited for, where reading stands, what the collector does meanwhile."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from datalab.errors import SourceUnavailable
from datalab.ingest.sources import kafka_topic
from datalab.ingest.sources.kafka_offsets import Range
from datalab.ingest.sources.kafka_topic import Topic, unsearched


class Client:
    """Answers what lies ready, as much as is asked for."""

    def __init__(self, ready: Sequence[Message]) -> None:
        self.ready = list(ready)
        self.asked: list[int] = []
        self.assigned: list[dict[int, int]] = []

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.assigned.append({each.partition: each.offset for each in partitions})

    def consume(self, most: int, timeout: float) -> list[Message]:
        assert timeout > 0
        self.asked.append(most)
        found, self.ready = self.ready[:most], self.ready[most:]
        return found


def message(partition: int, offset: int) -> Message:
    return Message(topic="t", partition=partition, offset=offset, value=b"v", key=b"k", timestamp=(1, 1_000 + offset))


def end(partition: int, offset: int) -> Message:
    error = KafkaError(KafkaError._PARTITION_EOF)
    return Message(topic="t", partition=partition, offset=offset, error=error, timestamp=(0, -1))


def out_of_range(partition: int, offset: int) -> Message:
    error = KafkaError(KafkaError._AUTO_OFFSET_RESET)
    return Message(topic="t", partition=partition, offset=offset, error=error, timestamp=(0, -1))


def reading(ready: Sequence[Message]) -> tuple[Topic, Client]:
    topic, client = Topic("t", "nowhere:1", "g", {}, 1.0), Client(ready)
    topic._consumer = client  # type: ignore[assignment]
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


def test_offsets_with_gaps_in_them_are_asked_one_by_one() -> None:
    offsets = [0, 1, 2, 5, 6, 9, 10, 11]
    mixed = [(0, 0), (0, 1), (1, 7), (1, 8), (1, 12), (0, 2), (2, 40)]
    for places in ([(0, each) for each in offsets], mixed):
        topic, _ = reading([message(*each) for each in places])
        topic._at_once = 100
        batch = next(topic.read([Range(each, 0, 50) for each in range(3)], threading.Event()))
        assert list(zip(*(batch.column(name).to_pylist() for name in ("partition", "offset")), strict=True)) == places


def test_messages_without_a_time_are_messages() -> None:
    timeless = [Message(topic="t", partition=0, offset=at, value=b"v", key=b"k", timestamp=(0, -1)) for at in range(3)]
    topic, _ = reading([*timeless, end(0, 4)])
    (batch,) = topic.read([Range(0, 0, 4)], threading.Event())
    assert batch.column("timestamp").to_pylist() == [-1, -1, -1]
    assert batch.column("offset").to_pylist() == [0, 1, 2]
    assert topic.stands() == {0: 4}


def test_no_search_for_circles_while_messages_are_made() -> None:
    with unsearched():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"), unsearched():
        raise ValueError("broken")
    assert gc.isenabled()


def test_who_wants_no_search_at_all_keeps_it_so() -> None:
    gc.disable()
    try:
        with unsearched():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


class Odd(Message):
    """A message with a header whose name is not UTF-8, as the client has it. Asked a second time, it would crash."""

    asked: ClassVar[list[int | None]] = []

    def headers(self) -> Any:
        self.asked.append(self.offset())
        if self.offset() == 1:
            raise SystemError("returned a result with an exception set")
        return super().headers()


def test_a_header_that_cannot_be_told_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_topic, "Message", Odd)
    places = [{"topic": "t", "partition": 0, "offset": at, "value": b"v"} for at in range(3)]
    messages = [Odd(**place, headers=[("a", b"b")] if place["offset"] else None) for place in places]
    batch = kafka_topic._as_arrow(messages, kafka_topic._moments(messages))
    told = [{"name": kafka_topic.UNREADABLE, "value": None}], [{"name": "a", "value": b"b"}]
    assert batch.column("headers").to_pylist() == [None, *told]
    assert Odd.asked == [0, 1, 2]
