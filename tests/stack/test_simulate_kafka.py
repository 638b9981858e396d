"""The simulator as a producer: what its ledger says was acknowledged is what the broker has."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from tests.conftest import Answer

from datalab.platform.services.control import Control

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def agro(
    tmp_path: Path,
    datalab: Callable[..., Answer],
    kafka: Control,
    registry: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A project on the servers, with topics of its own; answers the prefix of their names."""
    assert datalab("init", tmp_path / "agro", "--template", "agro").code == 0
    monkeypatch.chdir(tmp_path / "agro")
    monkeypatch.setenv("DATALAB_ENV", "stack")
    monkeypatch.setenv("DATALAB__KAFKA__BOOTSTRAP", kafka.addresses["bootstrap"])
    monkeypatch.setenv("DATALAB__KAFKA__REGISTRY", registry.addresses["url"])
    prefix = f"t{uuid.uuid4().hex[:8]}"
    for source in ("dados_produtores", "desfechos_credito"):
        monkeypatch.setenv(f"DATALAB__SOURCES__{source.upper()}__TOPIC", f"{prefix}-{source}")
    return prefix


def everything(bootstrap: str, topic: str, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "log_level": 0})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    found: list[Message] = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        found.extend(message for message in consumer.consume(10_000, 0.5) if message.error() is None)
    found.extend(message for message in consumer.consume(10, 0.5) if message.error() is None)
    consumer.close()
    return found


def decoded(message: Message, schemas: dict[int, Any]) -> Any:
    value = message.value()
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[int.from_bytes(value[1:5], "big")], None)


def test_the_ledger_is_what_the_topic_has(
    agro: str, datalab: Callable[..., Answer], kafka: Control, registry: Control
) -> None:
    options = ("--rows", "3000", "--bad", "2%", "--late", "2%", "--duplicates", "1%", "--evolve-at", "50%")
    answer = datalab("data", "simulate", "--to", "kafka", *options, "--ledger", "ledger.jsonl", "--json")
    assert answer.code == 0, answer.err
    lines = [json.loads(line) for line in Path("ledger.jsonl").read_text().splitlines()]
    topic = f"{agro}-dados_produtores"
    mine = [line for line in lines if line["topic"] == topic]
    assert len(mine) == answer.json["records"] == answer.json["sent"][topic]
    messages = everything(kafka.addresses["bootstrap"], topic, len(mine))
    assert Counter((m.partition(), m.offset()) for m in messages) == Counter(
        (line["partition"], line["offset"]) for line in mine
    )
    with SchemaRegistryClient({"url": registry.addresses["url"]}) as client:
        ids = {line["schema_id"] for line in mine}
        schemas = {each: fastavro.parse_schema(json.loads(client.get_schema(each).schema_str)) for each in ids}
    assert len(schemas) == 2
    by_place = {(m.partition(), m.offset()): m for m in messages}
    for line in mine:
        message = by_place[line["partition"], line["offset"]]
        assert (message.key() or b"").decode() == line["proponente_id"]
        if line["kind"] != "corrupt":
            record = decoded(message, schemas)
            assert (record["proponente_id"], record["data_solicitacao"]) == (
                line["proponente_id"],
                line["data_solicitacao"],
            )
    sound = [by_place[line["partition"], line["offset"]] for line in mine if line["kind"] == "good"]
    assert {decoded(message, schemas).get("versao_aplicativo") for message in sound} == {None, "2.0"}
    assert len({m.partition() for m in messages}) == 4
    again = datalab("data", "simulate", "--to", "kafka", "--rows", "1000", "--json")
    assert again.json["batch"] == 2
    assert not list(Path("landing").glob("**/*.avro"))


def test_a_rate_is_kept(agro: str, datalab: Callable[..., Answer]) -> None:
    began = time.monotonic()
    answer = datalab("data", "simulate", "--to", "kafka", "--rate", "2000", "--duration", "1", "--json")
    assert answer.code == 0, answer.err
    records = sum(answer.json["sent"].values())
    assert answer.json["requests"] == 2000
    assert time.monotonic() - began >= records / 2000 - 0.1


def test_servers_that_are_not_there_are_named(
    agro: str, datalab: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALAB__KAFKA__REGISTRY", "http://127.0.0.1:9/apis/ccompat/v7")
    answer = datalab("data", "simulate", "--to", "kafka", "--rows", "1000")
    assert answer.code == 8
    assert "registry" in answer.err
    monkeypatch.setenv("DATALAB__KAFKA__BOOTSTRAP", "127.0.0.1:9")
    answer = datalab("data", "simulate", "--to", "kafka", "--rows", "1000")
    assert answer.code == 8
    assert "Kafka at 127.0.0.1:9 does not answer" in answer.err
