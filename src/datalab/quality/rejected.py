"""Rows that broke a constraint behind a flow, turned into quarantine records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Check, Engine, Query
from datalab.lake.table import Relation
from datalab.names import TableName
from datalab.quality.quarantine import QUARANTINE_SCHEMA, Rejected, record_id

FAILED_COLUMN = "__failed"
_POSITION = {"source_file": "source_file", "source_row": "source_row"}


@dataclass(frozen=True)
class Attempt:
    """What a flow was doing when rows were rejected: for which target, over which units, in which run.

    `unit` names the units as one; the same unit consumed again replaces its records. `whole` says that the attempt
    covers everything the flow ever consumed (a view recomputed as a whole).
    """

    target: TableName
    flow: str
    unit: str
    run_id: str
    now: datetime
    whole: bool = False


def rejected_rows(engine: Engine, relation: Relation | None, checks: Sequence[Check], attempt: Attempt) -> Rejected:
    """The quarantine records of a staging's rejected rows; reason is `expectation`, detail names the constraints."""
    units = None if attempt.whole else (attempt.unit,)
    if relation is None:
        return Rejected(attempt.target, attempt.flow, QUARANTINE_SCHEMA.empty_table(), units)
    columns = [exp.column(name, quoted=True) for name in relation.schema.names]
    query = Query(exp.select(*columns).from_("rejected"), {"rejected": relation}, attempt.now, attempt.flow)
    seen: Counter[str] = Counter()
    batches = [
        pa.RecordBatch.from_pylist(list(_records(batch, checks, attempt, seen)), schema=QUARANTINE_SCHEMA)
        for batch in engine.read(query)
    ]
    return Rejected(attempt.target, attempt.flow, pa.Table.from_batches(batches, QUARANTINE_SCHEMA), units)


def _records(
    batch: pa.RecordBatch, checks: Sequence[Check], attempt: Attempt, seen: Counter[str]
) -> Iterator[dict[str, Any]]:
    for row in batch.to_pylist():
        failed = row.pop(FAILED_COLUMN)
        text = json.dumps(row, ensure_ascii=False, default=_plain, separators=(",", ":"))
        seen[text] += 1
        yield {
            "id": record_id(attempt.target, attempt.unit, text, seen[text]),
            "quarantined_at": attempt.now,
            "run_id": attempt.run_id,
            "target": str(attempt.target),
            "flow": attempt.flow,
            "unit": attempt.unit,
            **{column: row.get(name) for column, name in _POSITION.items()},
            "records": 1,
            "reason": "expectation",
            "detail": ", ".join(check.name for bit, check in enumerate(checks) if failed >> bit & 1),
            "row": text,
            "status": "open",
        }


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else str(value)
