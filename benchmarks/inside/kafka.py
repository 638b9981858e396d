"""Topics filled and read: our own way, the least there is, and what people write in Python today."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TOPIC = "dados_produtores"
BRONZE = "bronze.dados_produtores_agro"
FETCH = {
    "fetch.queue.backoff.ms": 10,
    "fetch.min.bytes": 262_144,
    "fetch.wait.max.ms": 20,
    "max.partition.fetch.bytes": 4_194_304,
    "queued.min.messages": 100_000,
    "queued.max.messages.kbytes": 65_536,
}
PARTITIONS = 4


def fill(bootstrap: str, registry: str, contract: str, landing: str, records: int) -> dict[str, Any]:
    """Send the simulated records of a landing folder, again and again, until there are so many."""
    import fastavro  # noqa: PLC0415
    from confluent_kafka import Producer  # noqa: PLC0415
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415
    from confluent_kafka.cimpl import NewTopic  # noqa: PLC0415
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient  # noqa: PLC0415

    text = Path(contract).read_text(encoding="utf-8")
    with SchemaRegistryClient({"url": registry}) as client:
        identifier = client.register_schema(f"{TOPIC}-value", Schema(text, "AVRO"))
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
    schema = fastavro.parse_schema(json.loads(text))
    prefix = b"\0" + identifier.to_bytes(4, "big")
    bodies = list(_bodies(fastavro, schema, sorted(Path(landing).glob("*.avro"))))
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "compression.type": "lz4"})
    for number in range(records):
        key, body = bodies[number % len(bodies)]
        while True:
            try:
                producer.produce(TOPIC, value=prefix + body, key=key)
                break
            except BufferError:
                producer.poll(0.5)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush(60)
    return {"records": records, "schema_id": identifier, "bytes": sum(len(body) for _, body in bodies) / len(bodies)}


def _bodies(fastavro: Any, schema: Any, files: list[Path]) -> Iterator[tuple[bytes, bytes]]:
    for path in files:
        with path.open("rb") as file:
            for record in fastavro.reader(file):
                body = io.BytesIO()
                fastavro.schemaless_writer(body, schema, record)
                yield record["proponente_id"].encode(), body.getvalue()


def _consumer(bootstrap: str) -> Any:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition  # noqa: PLC0415

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "log_level": 0, **FETCH})
    consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    return consumer


def raw(bootstrap: str, records: int) -> dict[str, Any]:
    """Take so many messages from the client, and do nothing with them: the limit."""
    consumer = _consumer(bootstrap)
    started, cpu, found = time.monotonic(), time.process_time(), 0
    while found < records:
        found += len(consumer.consume(10_000, 1.0))
    work, used = time.monotonic() - started, time.process_time() - cpu
    consumer.close()
    return {"work": work, "cpu": used, "rows": found}


def common(bootstrap: str, registry: str, folder: str, records: int, batch: int = 100_000) -> dict[str, Any]:
    """What people write today: fastavro, `pa.Table.from_pylist`, PyIceberg's append, a commit per batch."""
    import fastavro  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415
    from pyiceberg.catalog.sql import SqlCatalog  # noqa: PLC0415

    Path(folder).mkdir(parents=True)
    catalog = SqlCatalog("peer", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("bronze")
    with SchemaRegistryClient({"url": registry}) as client:
        schemas: dict[int, Any] = {}
        table, rows, found = None, [], 0
        consumer = _consumer(bootstrap)
        started, cpu = time.monotonic(), time.process_time()
        while found < records:
            for message in consumer.consume(10_000, 1.0):
                value = message.value()
                identifier = int.from_bytes(value[1:5], "big")
                if identifier not in schemas:
                    schemas[identifier] = fastavro.parse_schema(json.loads(client.get_schema(identifier).schema_str))
                record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[identifier], None)
                place = {"source_partition": message.partition(), "source_offset": message.offset()}
                rows.append({**record, **place})
                found += 1
            if len(rows) >= batch or found >= records:
                made = pa.Table.from_pylist(rows)
                if table is None:
                    table = catalog.create_table("bronze.dados", schema=made.schema)
                table.append(made)
                rows = []
        work, used = time.monotonic() - started, time.process_time() - cpu
        consumer.close()
    return {"work": work, "cpu": used, "rows": found}


def _project(folder: str, bootstrap: str, registry: str, fmt: str) -> Path:
    """The farmers' project on a cluster, for this process and those that it starts."""
    import os  # noqa: PLC0415

    from datalab.platform.project import create_project, templates  # noqa: PLC0415

    create_project(templates()["agro"], Path(folder))
    os.environ.update({
        "DATALAB_ENV": "stack",
        "DATALAB__LAKE__FORMAT": fmt,
        "DATALAB__KAFKA__BOOTSTRAP": bootstrap,
        "DATALAB__KAFKA__REGISTRY": registry,
    })  # fmt: skip
    return Path(folder)


def ours(project: str, bootstrap: str, registry: str, fmt: str) -> dict[str, Any]:
    """The farmers' project: `datalab ingest --until-lag-zero` of its one topic, from the start to the last commit."""
    from datalab.cli.app import main  # noqa: PLC0415

    _project(project, bootstrap, registry, fmt)
    sys.argv = ["datalab", "ingest", "--until-lag-zero", "--quiet", "--project", project, BRONZE]
    started = time.monotonic()
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise SystemExit(f"ingest ended with {ended.code}") from ended
    return {"work": time.monotonic() - started}


def count(project: str, fmt: str) -> dict[str, Any]:
    """How many rows a query finds then, asked in a process of its own."""
    from datalab.platform.lab import Lab  # noqa: PLC0415
    from datalab.platform.settings import load  # noqa: PLC0415

    settings = load(Path(project), "stack", environ={}, overrides={"lake": {"format": fmt}})
    with Lab(settings) as lab:
        return {"rows": lab.query(f"SELECT count(*) AS n FROM {BRONZE}").read_all().column("n")[0].as_py()}


def shared(project: str, bootstrap: str, registry: str, fmt: str, records: int, processes: int = 2) -> dict[str, Any]:
    """The same by several `datalab ingest --follow`, from the first look of one of them to the last commit.

    The broker waits three seconds for members of a new group; that is not counted.
    """
    import os  # noqa: PLC0415

    from datalab.lake.table import TableSpec  # noqa: PLC0415
    from datalab.names import TableName  # noqa: PLC0415
    from datalab.platform.lab import Lab  # noqa: PLC0415
    from datalab.platform.settings import load  # noqa: PLC0415

    folder = _project(project, bootstrap, registry, fmt)
    os.environ["DATALAB__KAFKA__GROUP"] = uuid.uuid4().hex
    with Lab(load(folder, "stack")) as lab:
        feed = next(feed for feed in lab.feeds if feed.name == TOPIC)
        lab.lake.define(feed.target, TableSpec(feed.schema, feed.partition, feed.comment))
        command = [sys.executable, "-m", "datalab", "ingest", "--follow", "--quiet", "--project", project, BRONZE]
        followers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(processes)]
        try:
            while sum(_stands(lab.lake.require(TableName.parse(BRONZE)))) < records:
                if any(follower.poll() is not None for follower in followers):
                    raise SystemExit("a process that was to follow has ended")
                time.sleep(0.1)
            ended = datetime.now(UTC)
        finally:
            for follower in followers:
                follower.terminate()
            for follower in followers:
                follower.wait()
        sql = f"SELECT count(*) AS n, min(ingestion_timestamp) AS began FROM {BRONZE}"
        (found,) = lab.query(sql).read_all().to_pylist()
    return {"work": (ended - found["began"]).total_seconds(), "rows": found["n"]}


def _stands(state: Any) -> Iterator[int]:
    position = state.positions.get(TOPIC)
    yield from position.offsets["partitions"].values() if position else ()
