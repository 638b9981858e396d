"""Dead letters: what ingest set aside, sent on to the topic that a source names, as Kafka Connect does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datalab.engine.base import Query
from datalab.errors import ConfigError, DataLabError, SnapshotNotFound
from datalab.events import Bus, DeadLettersDelayed, DeadLettersSent
from datalab.lake.table import Relation, TableState
from datalab.names import TableName
from datalab.pipelines.context import Context
from datalab.platform.settings import Configuration
from datalab.platform.topics import client_options
from datalab.plugins import Adapter, adapter, deferred
from datalab.quality.quarantine import QUARANTINE

if TYPE_CHECKING:
    from sqlglot import exp
else:
    exp = deferred("sqlglot.expressions")

_TOPIC = {"kafka": Adapter("datalab.ingest.dead_letters:DeadLetterTopic", "kafka")}
_LETTER = {"kafka": Adapter("datalab.ingest.dead_letters:Letter", "kafka")}
_CONNECT = "__connect.errors."


def send_dead_letters(
    configuration: Configuration, context: Context, environ: Mapping[str, str], bus: Bus
) -> dict[str, int]:
    """Bring the dead letter topic of every source that has one up to date; answers how many records were sent.

    A topic that cannot be used is told as an event and caught up by the next run: the quarantine has the records.
    """
    sent = {}
    for name, source in configuration.settings.sources.items():
        if source.dead_letter is None:
            continue
        bootstrap = configuration.settings.kafka.bootstrap
        if bootstrap is None:
            raise ConfigError(
                f"sources.{name}.dead_letter needs kafka.bootstrap", "kafka: {bootstrap: …} in datalab.yaml"
            )
        options = client_options(configuration, environ)
        topic = adapter("dead letter topic", "kafka", _TOPIC)(bootstrap, source.dead_letter, options)
        try:
            sent[str(name)] = _send(context, topic, str(name), source.into)
        except DataLabError as error:
            bus.emit(DeadLettersDelayed(str(name), error.message))
        else:
            if sent[str(name)]:
                bus.emit(DeadLettersSent(str(name), source.dead_letter, sent[str(name)]))
    return sent


def _send(context: Context, topic: Any, source: str, target: TableName) -> int:
    state = context.lake.state(QUARANTINE)
    if state is None or state.snapshot is None:
        return 0
    topic.take_over()
    last = topic.last()
    if last == state.snapshot:
        return 0
    rows = _new(context, state, _known(context, state, topic, last), (source, target))
    if rows.num_rows:
        make = adapter("dead letter topic", "kafka", _LETTER)
        topic.send([make(row["id"], row["raw"], dict(_headers(row))) for row in rows.to_pylist()], state.snapshot)
    return int(rows.num_rows)


def _known(context: Context, state: TableState, topic: Any, last: int | None) -> Relation:
    """Records that were sent: those of the snapshot that the topic stands at or, where that expired, the topic's."""
    schema = pa.schema([("id", pa.string())])
    if last is None:
        return Relation(schema)
    try:
        return context.lake.files(state, last)
    except SnapshotNotFound:
        return Relation(schema, memory=pa.table([sorted(topic.identities())], schema=schema))


def _new(context: Context, state: TableState, known: Relation, origin: tuple[str, TableName]) -> pa.Table:
    source, target = origin
    unsent = exp.not_(exp.column("id").isin(query=exp.select("id").from_("sent")))
    mine = exp.column("target").eq(str(target)), exp.column("flow").isin(source, f"{source}_push")
    tree = exp.select("*").from_("present").where(*mine, unsent).order_by("quarantined_at", "id")
    relations = {"present": context.lake.files(state), "sent": known}
    return context.engine.read(Query(tree, relations, context.now, "dead letters")).read_all()


def _headers(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The names that Kafka Connect gives to the context of a failure."""
    values = {
        "topic": row["source_topic"] or row["source_file"],
        "partition": row["source_partition"],
        "offset": row["source_offset"] if row["source_offset"] is not None else row["source_row"],
        "connector.name": row["flow"],
        "task.id": row["run_id"],
        "stage": "VALUE_CONVERTER",
        "class.name": "datalab.ingest",
        "exception.class.name": row["reason"],
        "exception.message": row["detail"],
    }
    return ((f"{_CONNECT}{name}", str(value)) for name, value in values.items() if value is not None)
