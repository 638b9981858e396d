"""The servers of the stack as clients meet them, and after they were killed."""

from __future__ import annotations

import os
import signal
import time
import uuid

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from datalab.platform.services.control import Control

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


def produce(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "log_level": 0})
    for number in range(count):
        producer.produce(topic, value=str(number).encode())
    assert producer.flush(30) == 0


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    settings = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "log_level": 0})
    consumer.subscribe([topic])
    found: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        found.extend(message.value() for message in consumer.consume(count, 1.0) if message.error() is None)
    consumer.close()
    return found


def wait_for_end(control: Control) -> None:
    deadline = time.monotonic() + 30
    while control.status().running and time.monotonic() < deadline:
        time.sleep(0.05)


def test_kafka_keeps_what_it_acknowledged_through_a_kill(kafka: Control) -> None:
    bootstrap = kafka.addresses["bootstrap"]
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("pedidos", 2, 1)])["pedidos"].result(30)
    produce(bootstrap, "pedidos", 100)
    os.kill(kafka.status().pid or 0, signal.SIGKILL)
    wait_for_end(kafka)
    assert kafka.status().problem == "ended by itself"
    kafka.start()
    assert sorted(map(int, consume(bootstrap, "pedidos", 100))) == list(range(100))


def test_the_registry_keeps_schemas_through_a_kill(registry: Control) -> None:
    schema = Schema('{"type": "record", "name": "Pedido", "fields": [{"name": "valor", "type": "double"}]}', "AVRO")
    with SchemaRegistryClient({"url": registry.addresses["url"]}) as client:
        identifier = client.register_schema("pedidos-value", schema)
        assert client.register_schema("pedidos-value", schema) == identifier
    os.kill(registry.status().pid or 0, signal.SIGKILL)
    wait_for_end(registry)
    registry.start()
    with SchemaRegistryClient({"url": registry.addresses["url"]}) as again:
        assert "Pedido" in again.get_schema(identifier).schema_str
