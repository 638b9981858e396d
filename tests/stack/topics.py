"""Topics for tests: made, filled with a ledger of what was acknowledged, and projects that read them."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from sqlglot import parse_one
from tests.contracts.source_suite import SCHEMA, TARGET

from datalab.engine.base import Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.events import Bus, Event
from datalab.ingest.contracts import parse_contract
from datalab.ingest.limits import Limits
from datalab.ingest.sources.kafka import Cluster, KafkaSource, Pace
from datalab.ingest.workers import Workers
from datalab.lake.lake import Lake, open_lake
from datalab.names import TableName
from datalab.pipelines.execute import Context, Outcome
from datalab.platform.feeds import SourceFeed
from datalab.quality.quarantine import QUARANTINE

__all__ = ["SCHEMA", "TARGET"]
PATIENCE = 60.0


def record(at: int) -> dict[str, Any]:
    return {"id": f"p{at}", "valor": at * 1.5, "tipo": ("FISICA", "JURIDICA")[at % 2], "nota": at if at % 3 else None}


@dataclass
class Filled:
    """A topic, its producer, and the ledger: (partition, offset) -> the value that was acknowledged there."""

    bootstrap: str
    registry: str
    name: str
    ledger: dict[tuple[int, int], bytes | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._connect()

    def _connect(self) -> None:
        options = {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "log_level": 0, "linger.ms": 5}
        self._producer = Producer(options)
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def make(self, partitions: int) -> None:
        self._admin.create_topics([NewTopic(self.name, partitions, 1)])[self.name].result(30)
        self._settle(partitions)

    def drop(self) -> None:
        self._admin.delete_topics([self.name])[self.name].result(30)
        self.ledger.clear()
        time.sleep(1)  # the broker deletes on its own time

    def widen(self, partitions: int) -> None:
        self._admin.create_partitions([NewPartitions(self.name, partitions)])[self.name].result(30)
        self._settle(partitions)

    def _settle(self, partitions: int) -> None:
        """Until every new client sees so many partitions."""
        for _ in range(100):
            self._connect()
            known = self._admin.list_topics(timeout=30).topics
            if self.name in known and len(known[self.name].partitions) == partitions:
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.name} never had {partitions} partitions")

    def truncate(self, partition: int, before: int) -> None:
        place = TopicPartition(self.name, partition, before)
        self._admin.delete_records([place])[place].result(30)
        for key in [key for key in self.ledger if key[0] == partition and key[1] < before]:
            del self.ledger[key]

    def register(self, schema: dict[str, Any], subject: str | None = None) -> int:
        with SchemaRegistryClient({"url": self.registry}) as client:
            return int(client.register_schema(subject or f"{self.name}-value", Schema(json.dumps(schema), "AVRO")))

    def send(self, values: Sequence[bytes | None], partition: int | None = None, **more: Any) -> None:
        """Each value to a partition in turn, or all to one; back when all are acknowledged."""
        count = len(self._admin.list_topics(self.name, timeout=30).topics[self.name].partitions)

        def told(error: Any, message: Any) -> None:
            assert error is None, error
            self.ledger[message.partition(), message.offset()] = message.value()

        for at, value in enumerate(values):
            place = at % count if partition is None else partition
            self._producer.produce(self.name, value=value, partition=place, on_delivery=told, **more)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0

    def group_offsets(self, group: str) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "log_level": 0})
        partitions = consumer.list_topics(self.name, timeout=30).topics[self.name].partitions
        found = consumer.committed([TopicPartition(self.name, each) for each in partitions], timeout=30)
        consumer.close()
        return {each.partition: each.offset for each in found if each.offset >= 0}


def encoded(row: dict[str, Any], schema: dict[str, Any], schema_id: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


@dataclass
class World:
    """A lake, and the feed of a topic into it."""

    topic: Filled
    lake: Lake
    engine: DuckDBEngine
    feed: SourceFeed
    events: list[Event]
    runs: int = 0

    def run(self) -> Outcome:
        context = self.context()
        self.feed.pending(context)
        return self.feed.consume(context)

    def context(self) -> Context:
        self.runs += 1
        return Context(self.lake, self.engine, f"run{self.runs}-{uuid.uuid4().hex[:4]}", datetime.now(UTC))

    def query(self, sql: str, table: TableName = TARGET) -> list[dict[str, Any]]:
        state = self.lake.state(table)
        if state is None:
            return []
        query = Query(parse_one(sql, read="spark"), {"t": self.lake.files(state)}, datetime.now(UTC))
        return self.engine.read(query).read_all().to_pylist()

    def quarantine(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM t WHERE status = 'open' ORDER BY source_partition, source_offset", QUARANTINE)

    def places(self) -> Counter[tuple[int, int]]:
        """Where the rows of bronze and quarantine came from."""
        rows = self.query("SELECT source_partition, source_offset FROM t")
        return Counter((row["source_partition"], row["source_offset"]) for row in [*rows, *self.quarantine()])

    def again(self, **changes: Any) -> World:
        """The same table read by another process, as it were."""
        return opened(self.topic, self.lake, self.engine, self.feed.source.workers, **changes)  # type: ignore[attr-defined]


def opened(topic: Filled, lake: Lake, engine: DuckDBEngine, workers: Workers, **changes: Any) -> World:
    contract = parse_contract(json.dumps(changes.pop("schema", SCHEMA)))
    patience = changes.pop("patience", PATIENCE)
    cluster = Cluster(
        topic.bootstrap, changes.pop("registry", topic.registry), f"group-{topic.name}", patience=patience
    )
    events, bus = list[Event](), Bus()
    bus.subscribe(events.append)
    pace = changes.pop("pace", Pace())
    source = KafkaSource("pedidos", contract, topic.name, cluster, workers, Limits(), pace, **changes)
    return World(topic, lake, engine, SourceFeed(source, TARGET, (), "", lake, engine, bus), events)


@contextmanager
def world(
    topic: Filled, folder: Path, workers: Workers, table_format: str = "iceberg", **changes: Any
) -> Iterator[World]:
    engine = DuckDBEngine("512MB", 1)
    made = opened(topic, open_lake(table_format, str(folder / "lake")), engine, workers, **changes)
    yield made
    made.feed.close()
    engine.close()


def table_of(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)
