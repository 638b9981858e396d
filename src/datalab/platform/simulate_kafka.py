"""Simulated records sent to Kafka topics instead of landing folders: the same records, in the same order, each once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath
from typing import IO, Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from datalab.errors import SourceError
from datalab.events import Bus, Progress
from datalab.ingest.avro_schema import parse_schema
from datalab.ingest.decode.avro_binary import reader_of
from datalab.ingest.decode.container import decompress, read_header, walk, write_long
from datalab.ingest.sources.kafka_client import accepted
from datalab.platform.simulate_stream import Cluster, Pace, Simulated, Stream

# The field that an evolved producer adds: optional, so that readers of the old schema go on.
NEW_FIELD: Mapping[str, Any] = {"name": "versao_aplicativo", "type": ["null", "string"], "default": None}
_NEW_VALUE = "2.0"
_BLOCK_LIMIT = 1 << 28
_SLICE = 0.05
_TOLD_EVERY = 5_000
_TIMEOUT = 30.0


@dataclass(frozen=True)
class _Record:
    topic: str
    key: bytes | None
    body: bytes
    line: Mapping[str, Any]


def send(
    streams: tuple[Stream, ...], made: Simulated, cluster: Cluster, pace: Pace, ledger: Path | None, bus: Bus
) -> dict[str, int]:
    """Send what the simulator wrote; answers how many records each topic acknowledged.

    `ledger` gets one line per acknowledged record: the simulator's, and topic, partition, offset and schema id.
    SourceError where the cluster or the registry does not take them.
    """
    for stream in streams:
        _make_topic(cluster, stream.topic, pace.partitions)
    schemas = {stream.topic: _register(cluster, stream, evolved=pace.evolve_at is not None) for stream in streams}
    with made.lines.open(encoding="utf-8") as lines:
        total = sum(1 for _ in lines)
    turn = total if pace.evolve_at is None else round(total * pace.evolve_at)
    with ExitStack() as stack:
        sending = _Sending(cluster, stack.enter_context(ledger.open("w", encoding="utf-8")) if ledger else None)
        began = time.monotonic()
        for number, record in enumerate(_records(made, streams)):
            _keep_pace(number, pace.rate, began, sending)
            plain, evolved = schemas[record.topic]
            if number < turn or evolved is None:
                sending.send(record, plain, record.body)
            else:
                sending.send(record, evolved, record.body + _evolution())
            if number % _TOLD_EVERY == 0:
                bus.emit(Progress("simulate: send", number, total))
        sending.finish()
    return sending.acknowledged


class _Sending:
    """An idempotent producer that writes down what was acknowledged."""

    def __init__(self, cluster: Cluster, ledger: IO[str] | None) -> None:
        settings = {"linger.ms": 20, "compression.type": "lz4", **cluster.options, "log_level": 0}
        with accepted():
            self._producer = Producer(
                {**settings, "bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "acks": "all"}
            )
        self._ledger = ledger
        self.acknowledged: dict[str, int] = {}
        self._failure: KafkaError | None = None

    def send(self, record: _Record, schema_id: int, body: bytes) -> None:
        value = b"\0" + schema_id.to_bytes(4, "big") + body

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failure = error
                return
            self.acknowledged[record.topic] = self.acknowledged.get(record.topic, 0) + 1
            if self._ledger is not None:
                place = {"topic": record.topic, "partition": message.partition(), "offset": message.offset()}
                self._ledger.write(json.dumps({**record.line, **place, "schema_id": schema_id}) + "\n")

        while True:
            try:
                self._producer.produce(record.topic, value=value, key=record.key, on_delivery=delivered)
                break
            except BufferError:
                self.poll(0.1)
        self.poll(0)

    def poll(self, seconds: float) -> None:
        """Take acknowledgements; SourceError where one was refused."""
        self._producer.poll(seconds)
        if self._failure is not None:
            raise SourceError(f"Kafka did not take a record: {self._failure.str()}", "datalab services health kafka")

    def finish(self) -> None:
        """Wait for all acknowledgements."""
        left = self._producer.flush(_TIMEOUT)
        self.poll(0)
        if left:
            raise SourceError(f"Kafka did not acknowledge {left} records", "datalab services health kafka")


def _keep_pace(number: int, rate: int, began: float, sending: _Sending) -> None:
    if not rate:
        return
    ahead = number / rate - (time.monotonic() - began)
    while ahead > _SLICE:
        sending.poll(min(ahead, _SLICE))
        ahead = number / rate - (time.monotonic() - began)


def _evolution() -> bytes:
    """The new field's value at the end of a record: the second branch of its union, and a text."""
    text = _NEW_VALUE.encode()
    return write_long(1) + write_long(len(text)) + text


def _register(cluster: Cluster, stream: Stream, *, evolved: bool) -> tuple[int, int | None]:
    """Schema ids of the contract and, where it is asked for, of the contract with one more optional field."""
    contract = json.loads(stream.contract.read_text(encoding="utf-8"))
    subject = f"{stream.topic}-value"
    try:
        with SchemaRegistryClient(_registry_settings(cluster)) as client:
            plain = client.register_schema(subject, Schema(json.dumps(contract), "AVRO"))
            client.set_compatibility(subject_name=subject, level="BACKWARD")
            if not evolved:
                return plain, None
            wider = {**contract, "fields": [*contract["fields"], NEW_FIELD]}
            return plain, client.register_schema(subject, Schema(json.dumps(wider), "AVRO"))
    except (SchemaRegistryError, OSError) as error:
        raise SourceError(f"the schema registry does not take {subject}: {error}", "datalab services health") from error
    except Exception as error:
        if type(error).__module__.startswith(("httpx", "httpcore")):
            raise SourceError(f"no schema registry at {cluster.registry}", "datalab services start registry") from error
        raise


def _registry_settings(cluster: Cluster) -> dict[str, Any]:
    """As the client names them."""
    access = cluster.access
    settings = {"url": cluster.registry}
    if access.get("user") is not None:
        settings["basic.auth.user.info"] = f"{access['user']}:{access['password']}"
    if access.get("ca") is not None:
        settings["ssl.ca.location"] = str(access["ca"])
    return settings


def _make_topic(cluster: Cluster, topic: str, partitions: int) -> None:
    with accepted():
        client = AdminClient({**cluster.options, "bootstrap.servers": cluster.bootstrap, "log_level": 0})
    try:
        if topic not in client.list_topics(timeout=_TIMEOUT / 3).topics:
            client.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_TIMEOUT)
    except KafkaException as error:
        raise SourceError(
            f"Kafka at {cluster.bootstrap} does not answer: {error.args[0].str()}", "datalab services start kafka"
        ) from error


def _records(made: Simulated, streams: tuple[Stream, ...]) -> Iterator[_Record]:
    """All records in the order of the ledger; those of sources without a topic are left out."""
    keys = {stream.topic: json.loads(stream.contract.read_text("utf-8"))["fields"][0]["name"] for stream in streams}
    with made.lines.open(encoding="utf-8") as file:
        for name, lines in groupby(map(json.loads, file), lambda line: line["file"]):
            stream = next((each for each in streams if PurePath(name).match(each.files)), None)
            if stream is None:
                continue
            for line, body in zip(lines, _bodies(made.folder / name), strict=True):
                key = line.get(keys[stream.topic])
                yield _Record(stream.topic, key.encode() if isinstance(key, str) else None, body, line)


def _bodies(path: Path) -> Iterator[bytes]:
    """Each record's bytes; a record that cannot be decoded stands in a block of its own and is sent as it is."""
    data = memoryview(path.read_bytes())
    header = read_header(data)
    read = reader_of(parse_schema(json.loads(header.schema), strict=False))
    for block in walk(data, header):
        plain = bytes(decompress(header.codec, data[block.start : block.stop], _BLOCK_LIMIT))
        if block.count == 1:
            yield plain
            continue
        start = 0
        for _ in range(block.count):
            _, stop = read(plain, start)
            yield plain[start:stop]
            start = stop
