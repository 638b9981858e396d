"""Runs in a decoding worker: messages to data files, with positions in each row."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datalab.ingest.contracts import IN_TOPIC, TIMESTAMP, Contract, bronze_schema, parse_contract
from datalab.ingest.decode.messages import decode_messages
from datalab.ingest.decode.parts import Part
from datalab.ingest.message_jobs import MessageJob, MessagesDone, Refused
from datalab.ingest.reasons import within_budget
from datalab.ingest.writing import Habits, RecordWriter
from datalab.names import TableName

_HELD_SHARE = 10
_LAST_MOMENT = 253_402_300_799_999  # milliseconds; the year 9999 ends


@lru_cache(maxsize=8)
def _contract(text: str) -> Contract:
    return parse_contract(text)


@lru_cache(maxsize=8)
def _habits(_table: TableName, _contract: str) -> Habits:
    return Habits()


def decode_message_job(job: MessageJob) -> MessagesDone:
    """Decode messages and write what they hold."""
    contract = _contract(job.contract)
    memory = job.limits.worker_memory // _HELD_SHARE
    writer = None
    if job.target is not None:
        writer = RecordWriter(job.target, memory, _habits(job.target.name, job.contract))
    accepted, refused = 0, list[Refused]()
    waiting, job = deque(job.messages), replace(job, messages=())  # each batch is let go of once it is decoded
    while waiting:
        batch = waiting.popleft()
        for part in decode_messages(batch.column("value"), job.schemas, contract):
            accepted += part.accepted
            refused.extend(_placed(batch, part))
            if writer is not None and part.accepted:
                writer.add(_with_position(job, contract, batch, part))
    kept = within_budget(each.reject for each in refused)
    pairs = zip(refused, kept, strict=True)
    bounded = tuple(Refused(each.partition, each.offset, reject) for each, reject in pairs)
    return MessagesDone(accepted, bounded, writer.finish() if writer is not None else ())


def _placed(batch: pa.RecordBatch, part: Part) -> list[Refused]:
    if not part.rejects:
        return []
    places = pa.array([reject.row for reject in part.rejects])
    partitions, offsets = (batch.column(name).take(places).to_pylist() for name in ("partition", "offset"))
    return [Refused(*each) for each in zip(partitions, offsets, part.rejects, strict=True)]


def _with_position(job: MessageJob, contract: Contract, batch: pa.RecordBatch, part: Part) -> pa.Table:
    assert part.records is not None
    assert part.rows is not None
    schema = bronze_schema(contract, IN_TOPIC)
    whole = part.accepted == batch.num_rows and bool((part.rows == np.arange(batch.num_rows)).all())
    kept = batch if whole else batch.take(pa.array(part.rows))
    added = [
        pa.repeat(pa.scalar(job.now, TIMESTAMP), part.accepted),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(part.accepted, dtype=np.int32)), [job.topic]),
        kept.column("partition"),
        kept.column("offset"),
        _moments(kept.column("timestamp")),
        pc.cast(kept.column("key"), pa.binary()),
        kept.column("headers"),
    ]
    return pa.Table.from_arrays([*part.records.flatten(), *added], names=schema.names)


def _moments(millis: pa.Array) -> pa.Array:
    """When messages came into being; null where nobody said so, or said what no reader of the lake knows."""
    known = pc.and_(pc.greater_equal(millis, 0), pc.less_equal(millis, _LAST_MOMENT))
    micros = pc.multiply(pc.if_else(known, millis, pa.scalar(None, pa.int64())), pa.scalar(1_000, pa.int64()))
    return pc.cast(micros, TIMESTAMP)
