"""Quarantine: a lake table with each record that could not be accepted, why, where it came from, and its bytes."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from datalab.names import TableName

QUARANTINE = TableName("ops", "quarantine")
MAX_RAW_BYTES = 64 * 1024
_TIMESTAMP = pa.timestamp("us", tz="UTC")

# `unit` is the granule in which the target consumes its source (a file, a range of offsets, a range of snapshots):
# consuming a unit again replaces its open records as a whole. `records` is how many source records an entry stands
# for (1; more where a damaged block hides their borders). `raw` is cut to MAX_RAW_BYTES, `raw_size` is the whole.
QUARANTINE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("quarantined_at", _TIMESTAMP),
        ("run_id", pa.string()),
        ("target", pa.string()),
        ("flow", pa.string()),
        ("unit", pa.string()),
        ("source", pa.string()),
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
        ("source_topic", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        ("records", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("schema_id", pa.string()),
        ("raw", pa.binary()),
        ("raw_size", pa.int64()),
        ("row", pa.string()),
        ("status", pa.string()),
        ("resolved_at", _TIMESTAMP),
    ]
)


def record_id(target: TableName, *position: object) -> str:
    """The id of a quarantined record, the same each time the same position is read for the same target."""
    text = "\x1f".join([str(target), *map(str, position)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
