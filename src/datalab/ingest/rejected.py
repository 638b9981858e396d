"""Rejected records as rows of the quarantine table, with ids that follow from their source position."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from datalab.ingest.jobs import FileDone
from datalab.ingest.message_jobs import Refused
from datalab.ingest.reasons import WHOLE, Reject
from datalab.ingest.sources.base import Run
from datalab.names import TableName
from datalab.quality.quarantine import QUARANTINE_SCHEMA, record_id


def unit_of(name: str, version: str) -> str:
    """What quarantine calls the granule that is consumed: a version of a file."""
    return f"{name}@{version}"


def rejected_table(files: Iterable[FileDone], flow: tuple[str, TableName, str], run: Run) -> pa.Table:
    """Rows in QUARANTINE_SCHEMA; `flow` is the source's name, its target and the contract's schema id."""
    rows = [_row(each, reject, flow, run) for each in files for reject in each.rejects]
    return pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)


def refused_table(
    refused: Iterable[Refused], flow: tuple[str, TableName, str], topic: tuple[str, str], run: Run
) -> pa.Table:
    """Rows in QUARANTINE_SCHEMA for messages; `topic` is its name and id. Each message is a unit of its own."""
    rows = [_message(each, flow, topic, run) for each in refused]
    return pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)


def unit_ending(topic_id: str) -> str:
    """How the units of a topic's messages end: one that is made again has the same name and offsets, and another id."""
    return f"#{topic_id}"


def topic_of(unit: str) -> str:
    """The id of the topic that a message's unit is of."""
    return unit.rpartition("#")[2]


def _message(each: Refused, flow: tuple[str, TableName, str], topic: tuple[str, str], run: Run) -> dict[str, Any]:
    _, target, _ = flow
    name, topic_id = topic
    unit = f"{name}/{each.partition}@{each.offset}"
    return {
        **_told(each.reject, flow, run),
        "id": record_id(target, name, topic_id, each.partition, each.offset),
        "unit": f"{unit}{unit_ending(topic_id)}",
        "source_topic": name,
        "source_partition": each.partition,
        "source_offset": each.offset,
    }


def _told(reject: Reject, flow: tuple[str, TableName, str], run: Run) -> dict[str, Any]:
    """What is the same for all kinds of sources."""
    source, target, schema_id = flow
    return {
        "quarantined_at": run.now,
        "run_id": run.run_id,
        "target": str(target),
        "flow": source,
        "source": source,
        "records": reject.records,
        "reason": str(reject.reason),
        "detail": reject.detail,
        "schema_id": reject.schema_id or schema_id,
        "raw": reject.raw,
        "raw_size": reject.raw_size,
        "status": "open",
    }


def _row(each: FileDone, reject: Reject, flow: tuple[str, TableName, str], run: Run) -> dict[str, Any]:
    _, target, _ = flow
    return {
        **_told(reject, flow, run),
        "id": record_id(target, each.name, each.version, reject.row),
        "unit": unit_of(each.name, each.version),
        "source_file": each.name,
        "source_row": None if reject.row <= WHOLE else reject.row,
    }
