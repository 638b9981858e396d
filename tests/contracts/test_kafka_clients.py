"""Both clients that take messages, on a broker that librdkafka itself plays: the same messages in the same columns."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from datalab.errors import InvalidSetting
from datalab.ingest.decode.avro_columns import PADDING
from datalab.ingest.message_jobs import MESSAGES
from datalab.ingest.native.build import LIBRARY
from datalab.ingest.sources.kafka_client import Client, client_of
from datalab.ingest.sources.kafka_native import NativeClient
from datalab.ingest.sources.kafka_python import PythonClient

SETTINGS: Mapping[str, Any] = {
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 20,
    "log_level": 0,
}
Open = Callable[..., Client]


@pytest.fixture(scope="module")
def producer() -> Producer:
    """It plays the broker, too."""
    return Producer({"test.mock.num.brokers": 1, "log_level": 0})


@pytest.fixture
def topic() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["native", "python"])
def opened(request: pytest.FixtureRequest, producer: Producer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens clients of one kind."""
    native = request.param == "native"
    if native and not LIBRARY.exists():
        pytest.skip("the part in C was not built: a C compiler is needed when the package is installed")
    monkeypatch.setenv("DATALAB_NATIVE", "on" if native else "off")
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    made: list[Client] = []

    def opened_client(**more: Any) -> Client:
        where = {"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": uuid.uuid4().hex}
        made.append(client_of({**SETTINGS, **where, **more}))
        assert isinstance(made[-1], NativeClient if native else PythonClient)
        return made[-1]

    yield opened_client
    for each in made:
        each.close()


def send(producer: Producer, topic: str, messages: list[dict[str, Any]]) -> None:
    for each in messages:
        producer.produce(topic, **each)
    producer.flush(10)


def taken(client: Client, most: int = 1_000, *, ends: int = 1) -> pa.Table:
    """All messages up to so many ends of partitions."""
    batches, found = [], 0
    for _ in range(200):
        batch, notices = client.consume(most)
        batches += [batch] if batch is not None else []
        for each in notices:
            assert each.error.code() == KafkaError._PARTITION_EOF
            found += 1
        if found >= ends:
            return pa.Table.from_batches(batches, MESSAGES)
    raise AssertionError("the ends do not come")


def test_values_keys_and_moments_are_those_that_were_sent(opened: Open, producer: Producer, topic: str) -> None:
    sent = [
        {"value": b"one", "key": b"k", "timestamp": 1_700_000_000_123},
        {"value": None, "key": b"tombstone", "timestamp": 1_700_000_000_124},
        {"value": b"", "key": b"", "timestamp": 1_700_000_000_125},
        {"value": b"\0\xff" * 70_000, "key": None, "timestamp": 1_700_000_000_126},
    ]
    send(producer, topic, [{**each, "partition": 0} for each in sent])
    client = opened()
    client.assign(topic, {0: 0})
    rows = taken(client).to_pylist()
    assert [{name: row[name] for name in sent[0]} for row in rows] == sent
    assert [(row["partition"], row["offset"], row["headers"]) for row in rows] == [(0, at, None) for at in range(4)]


def test_headers_are_in_their_order_also_twice_and_without_a_value(
    opened: Open, producer: Producer, topic: str
) -> None:
    sent: list[list[tuple[str, bytes | None]]] = [
        [],
        [("origem", b"a"), ("origem", b"b")],
        [("ação", None), ("", b"")],
        [],
        [(f"h{at}", bytes([at]) * at) for at in range(60)],
    ]
    send(producer, topic, [{"value": b"v", "partition": 0, "headers": each} for each in sent])
    client = opened()
    client.assign(topic, {0: 0})
    found = taken(client).column("headers").to_pylist()
    assert found == [[{"name": name, "value": value} for name, value in each] or None for each in sent]


def test_partitions_are_read_from_where_they_are_told(opened: Open, producer: Producer, topic: str) -> None:
    send(producer, topic, [{"value": b"%d" % at, "partition": at % 3} for at in range(3_000)])
    client = opened()
    client.assign(topic, {0: 10, 2: 990})
    rows = taken(client, 64, ends=2).to_pylist()
    assert {(row["partition"], row["offset"]): row["value"] for row in rows} == {
        (each, at): b"%d" % (at * 3 + each) for each, first in ((0, 10), (2, 990)) for at in range(first, 1_000)
    }
    client.assign(topic, {1: 998})
    assert taken(client).column("offset").to_pylist() == [998, 999]


def test_whatever_is_read_beyond_the_last_value_is_the_buffer_own(opened: Open, producer: Producer, topic: str) -> None:
    send(producer, topic, [{"value": b"v" * 50, "partition": 0} for _ in range(100)])
    client = opened()
    client.assign(topic, {0: 0})
    for chunk in taken(client).column("value").chunks:
        assert chunk.buffers()[2].size - 50 * len(chunk) >= PADDING


def test_an_offset_that_is_not_there_is_a_notice(opened: Open, producer: Producer, topic: str) -> None:
    send(producer, topic, [{"value": b"v", "partition": 0}])
    client = opened()
    client.assign(topic, {0: 70})
    found = next(notices for _ in range(100) if (notices := client.consume(10)[1]))
    assert [(each.partition, each.error.code()) for each in found] == [(0, KafkaError._AUTO_OFFSET_RESET)]
    assert found[0].error.str()


def test_what_is_published_is_the_groups(opened: Open, producer: Producer, topic: str) -> None:
    send(producer, topic, [{"value": b"v", "partition": at} for at in range(2)])
    client = opened()
    client.refresh(topic, 5.0)
    client.assign(topic, {0: 0, 1: 0})
    client.commit(topic, {0: 1, 1: 0})
    client.close()
    client.close()  # again is no trouble


def test_a_client_may_be_closed_while_another_thread_waits_in_it(opened: Open, topic: str) -> None:
    client = opened()
    client.assign(topic, {})
    ended = threading.Event()

    def wait() -> None:
        with suppress(KafkaException):
            while True:
                client.consume(10)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    time.sleep(0.05)
    client.close()
    assert ended.wait(5)


def test_a_setting_that_is_none_is_told(opened: Open) -> None:
    with pytest.raises(InvalidSetting, match=r"no\.such\.setting"):
        opened(**{"no.such.setting": 1})


def test_a_broker_that_is_not_there_is_told_when_asked(opened: Open, topic: str) -> None:
    client = opened(**{"bootstrap.servers": "127.0.0.1:1"})
    with pytest.raises(KafkaException):
        client.refresh(topic, 0.3)
    assert client.consume(5)[0] is None
