"""Messages of a topic for decoding workers, and what they answer: plain values that cross processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from datalab.ingest.decode.framing import Schemas
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reject
from datalab.lake.table import DataFile, WriteTarget

DECODE_MESSAGES = "datalab.ingest.message_work:decode_message_job"

# Moments are milliseconds since 1970, as brokers have them. A headers list that is null stands for none.
MESSAGES = pa.schema(
    [
        ("value", pa.large_binary()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.int64()),
        ("key", pa.large_binary()),
        ("headers", pa.list_(pa.field("element", pa.struct([("name", pa.string()), ("value", pa.binary())])))),
    ]
)


@dataclass(frozen=True)
class MessageJob:
    """Messages of one topic (MESSAGES) for one worker, under one contract (its text)."""

    messages: tuple[pa.RecordBatch, ...]
    schemas: Schemas
    contract: str
    topic: str
    limits: Limits
    now: datetime
    target: WriteTarget | None = None

    @property
    def count(self) -> int:
        """How many messages there are."""
        return sum(batch.num_rows for batch in self.messages)


@dataclass(frozen=True)
class Refused:
    """A message that could not be accepted, and why."""

    partition: int
    offset: int
    reject: Reject


@dataclass(frozen=True)
class MessagesDone:
    """The answer to a job: how many were accepted, which were not, and the data files that hold the former."""

    accepted: int = 0
    refused: tuple[Refused, ...] = ()
    data: tuple[DataFile, ...] = ()
