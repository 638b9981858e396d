"""The dead letter topic: each quarantined record once, in Kafka Connect's headers, whatever goes wrong in between."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from tests.journeys.pedidos import SETTINGS, Pedidos, order

from datalab.ingest import dead_letters
from datalab.platform.services.control import Control

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def topic() -> str:
    return f"dead-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def pedidos(tmp_path: Path, datalab: Callable[..., Any], kafka: Control, topic: str) -> Pedidos:
    project = Pedidos(tmp_path, datalab).create()
    source = SETTINGS.replace("landing/*.jsonl}", f"landing/*.jsonl, dead_letter: {topic}}}")
    project.write("datalab.yaml", f"{source}\nkafka: {{bootstrap: '{kafka.addresses['bootstrap']}'}}\n")
    return project


def letters(kafka: Control, topic: str) -> list[Message]:
    settings = {"bootstrap.servers": kafka.addresses["bootstrap"], "group.id": uuid.uuid4().hex, "log_level": 0}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: list[Message] = []
    quiet = time.monotonic()
    while time.monotonic() - quiet < 1.5:
        some = [message for message in consumer.consume(1000, 0.2) if message.error() is None]
        quiet = time.monotonic() if some else quiet
        found.extend(some)
    consumer.close()
    return found


def ids(messages: list[Message]) -> Counter[str]:
    return Counter(dict(message.headers())[dead_letters.IDENTITY].decode() for message in messages)


def quarantined(pedidos: Pedidos) -> set[str]:
    return {row[0] for row in pedidos.rows("SELECT id FROM ops.quarantine WHERE target = 'bronze.pedidos'")}


def test_each_quarantined_record_is_sent_once(pedidos: Pedidos, kafka: Control, topic: str) -> None:
    pedidos.deliver("a", order("1"), order("2", valor="many"), "{broken")
    pedidos.run()
    first = letters(kafka, topic)
    assert ids(first) == Counter(quarantined(pedidos))
    headers = {dict(message.headers())["__connect.errors.offset"]: dict(message.headers()) for message in first}
    assert headers[b"1"]["__connect.errors.exception.class.name"] == b"wrong_type"
    assert headers[b"2"]["__connect.errors.topic"] == b"landing/a.jsonl"
    assert b"{broken" in [message.value() for message in first]
    pedidos.run()
    assert len(letters(kafka, topic)) == 2
    pedidos.deliver("b", order("3", valor="none"), order("4", versao=2))
    pedidos.run()
    assert ids(letters(kafka, topic)) == Counter(quarantined(pedidos))
    assert len(letters(kafka, topic)) == 3


def test_what_a_failed_transaction_left_is_sent_by_the_next_run(
    pedidos: Pedidos, kafka: Control, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dies(dead_letters.Producer):  # type: ignore[misc, unused-ignore]
        def commit_transaction(self, *_: object) -> None:
            self.flush(10)
            raise KeyboardInterrupt

    pedidos.deliver("a", order("1", valor="many"), order("2", valor="many"))
    with monkeypatch.context() as patch:
        patch.setattr(dead_letters, "Producer", Dies)
        pedidos("run", code=130)
    pedidos.deliver("b", order("3", valor="many"))
    pedidos.run()
    assert ids(letters(kafka, topic)) == Counter(quarantined(pedidos))
    assert sum(ids(letters(kafka, topic)).values()) == 3


def test_a_broker_that_is_away_delays_letters_and_not_the_run(
    pedidos: Pedidos, kafka: Control, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_TIMEOUT", 1.0)
    pedidos.deliver("a", order("1"), order("2", valor="many"))
    with monkeypatch.context() as patch:
        patch.setenv("DATALAB__KAFKA__BOOTSTRAP", "127.0.0.1:9")
        assert pedidos.run().json["status"] == "ok"
    monkeypatch.setattr(dead_letters, "_TIMEOUT", 10.0)
    assert pedidos.run().json["status"] == "nothing_to_do"
    assert ids(letters(kafka, topic)) == Counter(quarantined(pedidos))
