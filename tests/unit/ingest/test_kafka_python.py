"""Messages of confluent-kafka to Arrow: offsets, times, headers, and what the collector does meanwhile."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

import pytest
from confluent_kafka import Message

from datalab.ingest.sources import kafka_python
from datalab.ingest.sources.kafka_client import UNREADABLE
from datalab.ingest.sources.kafka_python import unsearched


def test_offsets_with_gaps_in_them_are_asked_one_by_one() -> None:
    offsets = [0, 1, 2, 5, 6, 9, 10, 11]
    mixed = [(0, 0), (0, 1), (1, 7), (1, 8), (1, 12), (0, 2), (2, 40)]
    for places in ([(0, each) for each in offsets], mixed):
        messages = [Message(topic="t", partition=each, offset=at, value=b"v") for each, at in places]
        batch = kafka_python._as_arrow(messages, kafka_python._moments(messages))
        assert list(zip(*(batch.column(name).to_pylist() for name in ("partition", "offset")), strict=True)) == places


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
    monkeypatch.setattr(kafka_python, "Message", Odd)
    places = [{"topic": "t", "partition": 0, "offset": at, "value": b"v"} for at in range(3)]
    messages = [Odd(**place, headers=[("a", b"b")] if place["offset"] else None) for place in places]
    batch = kafka_python._as_arrow(messages, kafka_python._moments(messages))
    told = [{"name": UNREADABLE, "value": None}], [{"name": "a", "value": b"b"}]
    assert batch.column("headers").to_pylist() == [None, *told]
    assert Odd.asked == [0, 1, 2]
