"""From the local log to the lake: each record once, the place in the log committed with the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic_core import from_json, to_json

from datalab.engine.base import Staged
from datalab.errors import Fenced
from datalab.events import Bus, ScoresFlushed
from datalab.lake.provenance import Provenance
from datalab.lake.rows import write_rows
from datalab.lake.table import Change, TableSpec, TableState
from datalab.names import TableName
from datalab.pipelines.execute import Context
from datalab.quality.publish import discarded_on_failure
from datalab.serving.log_reader import Chunk, Place, log_files, read_chunk, remove_taken, sizes

_TIME = pa.timestamp("us", tz="UTC")
_POSITION = [("source_log", pa.string()), ("source_row", pa.int64())]
SCORES = TableName("ops", "scores")
REVIEWS = TableName("ops", "reviews")
SCHEMAS = {
    SCORES: pa.schema(
        [
            ("score_id", pa.string()),
            ("scored_at", _TIME),
            ("model", pa.string()),
            ("model_version", pa.int32()),
            ("entity", pa.string()),
            ("request", pa.string()),
            ("features", pa.string()),
            ("inputs", pa.string()),
            ("probability", pa.float64()),
            ("score", pa.int32()),
            ("decision", pa.string()),
            ("reasons", pa.string()),
            ("degraded", pa.string()),
            ("latency_ms", pa.float64()),
            ("key_id", pa.string()),
            *_POSITION,
        ]
    ),
    REVIEWS: pa.schema(
        [
            ("score_id", pa.string()),
            ("reviewed_at", _TIME),
            ("reviewer", pa.string()),
            ("outcome", pa.string()),
            ("note", pa.string()),
            ("key_id", pa.string()),
            *_POSITION,
        ]
    ),
}
_COMMENTS = {SCORES: "Every score that was answered.", REVIEWS: "What people decided about scores; the newest counts."}
_TIMES = frozenset({"scored_at", "reviewed_at"})
_FLOW = "score_log"
_CHUNK_BYTES = 32 << 20
_ATTEMPTS = 20


@dataclass(frozen=True)
class Flushed:
    """Rows that came into a table, and lines that are no records (there should never be one)."""

    table: TableName
    rows: int
    damaged: int


def flush_log(context: Context, table: TableName, folder: Path, bus: Bus) -> Flushed:
    """Take all whole lines that a log has now to its table. Safe to run twice at once: who comes second starts over.

    What is logged meanwhile is for the next time: a busy server would be followed without a pause, in tiny commits.
    """
    rows = damaged = lost = 0
    present = sizes(folder)
    while True:
        try:
            taken = _take_some(context, table, folder, present)
        except Fenced:
            lost += 1
            if lost == _ATTEMPTS:
                raise
            continue
        if taken is None:
            break
        rows, damaged = rows + taken.rows, damaged + taken.damaged
    if rows:
        bus.emit(ScoresFlushed(str(table), rows))
    return Flushed(table, rows, damaged)


def _take_some(context: Context, table: TableName, folder: Path, present: Mapping[str, int]) -> Flushed | None:
    """One commit; None where nothing is left of `present`, the bytes of each file.

    Files that were taken whole are removed only after their commit.
    """
    files = log_files(folder)
    state = context.lake.state(table)
    if not files:
        return None
    if state is None:
        state = context.lake.define(table, TableSpec(SCHEMAS[table], comment=_COMMENTS[table]))
    places = _places(state)
    chunks = _chunks(files, places, present)
    if not chunks:
        remove_taken(folder, places)
        return None
    after = {**places, **{chunk.file: chunk.after for chunk in chunks}}
    names = {path.name for path in files}
    return _commit(context, state, chunks, {name: place for name, place in after.items() if name in names})


def _chunks(files: Sequence[Path], places: Mapping[str, Place], present: Mapping[str, int]) -> list[Chunk]:
    chunks: list[Chunk] = []
    left = _CHUNK_BYTES
    for path in files:
        if left <= 0:
            break
        place = places.get(path.name, Place())
        behind = present.get(path.name, 0) - place.bytes
        if behind <= 0:
            continue
        try:
            chunk = read_chunk(path, place, min(left, behind))
        except FileNotFoundError:
            continue  # another flusher took it whole
        if chunk.lines:
            chunks.append(chunk)
            left -= chunk.after.bytes - place.bytes
    return chunks


def _commit(context: Context, state: TableState, chunks: Sequence[Chunk], places: Mapping[str, Place]) -> Flushed:
    found = [_records(chunk) for chunk in chunks]
    rows = [row for records, _ in found for row in records]
    damaged = sum(bad for _, bad in found)
    records = pa.Table.from_pylist(rows, schema=SCHEMAS[state.name])
    staged = Staged((write_rows(state.target(), records),) if rows else ())
    provenance = Provenance(
        context.run_id,
        _FLOW,
        "append",
        offsets={name: [place.rows, place.bytes] for name, place in places.items()},
        details={"damaged": damaged} if damaged else {},
        read=len(rows),
        written=len(rows),
    )
    with discarded_on_failure(context.engine, staged):
        context.lake.commit(state, Change(provenance, staged.add))
    return Flushed(state.name, len(rows), damaged)


def _places(state: TableState) -> dict[str, Place]:
    position = state.positions.get(_FLOW)
    return {name: Place(*counts) for name, counts in (position.offsets if position else {}).items()}


def _records(chunk: Chunk) -> tuple[list[dict[str, Any]], int]:
    """The rows of a chunk; nested values become JSON text, as the tables have them."""
    rows, damaged = [], 0
    for number, line in enumerate(chunk.lines, chunk.first_row):
        try:
            row = {name: _flat(name, value) for name, value in from_json(line).items()}
        except (ValueError, TypeError, AttributeError):
            damaged += 1
            continue
        rows.append({**row, "source_log": chunk.file, "source_row": number})
    return rows, damaged


def _flat(name: str, value: Any) -> Any:
    if name in _TIMES:
        return datetime.fromisoformat(value)
    return to_json(value).decode() if isinstance(value, dict | list) else value
