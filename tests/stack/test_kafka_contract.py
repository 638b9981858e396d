"""The source contract suite over a real topic and registry: the same promises as those of files."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.contracts.source_suite import LOOSE, SCHEMA, SourceSuite
from tests.stack.topics import TARGET, Filled, World, opened, world

from datalab.engine.duckdb import DuckDBEngine
from datalab.ingest.workers import Workers
from datalab.lake.lake import Lake
from datalab.names import TableName
from datalab.pipelines.execute import Context, Outcome
from datalab.platform.feeds import SourceFeed
from datalab.platform.services.control import Control

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


@dataclass
class Topical:
    """A topic of one partition, so that the order of delivery is that of the offsets."""

    made: World
    keeps_raw: bool = True

    @property
    def lake(self) -> Lake:
        return self.made.lake

    @property
    def feed(self) -> SourceFeed:
        return self.made.feed

    def deliver(self, _: str, rows: list[dict[str, Any]]) -> None:
        schema_id = self.made.topic.register(LOOSE)
        parsed = fastavro.parse_schema(LOOSE)
        values: list[bytes | None] = []
        for row in rows:
            out = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
            out.seek(5)
            fastavro.schemaless_writer(out, parsed, row)
            values.append(out.getvalue())
        self.made.topic.send(values)

    def context(self) -> Context:
        return self.made.context()

    def run(self) -> Outcome:
        return self.made.run()

    def query(self, sql: str, table: TableName = TARGET) -> list[dict[str, Any]]:
        return self.made.query(sql, table)

    def again(self, contract: dict[str, Any] = SCHEMA) -> Topical:
        engine = self.made.engine
        assert isinstance(engine, DuckDBEngine)
        source: Any = self.feed.source
        return Topical(opened(self.made.topic, self.lake, engine, source.workers, schema=contract))


@pytest.fixture(name="world", params=["iceberg", "delta"])
def a_world(
    request: pytest.FixtureRequest, kafka: Control, registry: Control, tmp_path: Path, workers: Workers
) -> Iterator[Topical]:
    topic = Filled(kafka.addresses["bootstrap"], registry.addresses["url"], f"t{uuid.uuid4().hex[:8]}")
    topic.make(1)
    with world(topic, tmp_path, workers, request.param) as made:
        yield Topical(made)


class TestKafka(SourceSuite):
    """The shared suite."""
