"""Which version of a model was live when, by whom, why: the table ops.models, appended to, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Query
from datalab.names import TableName
from datalab.pipelines.execute import Context
from datalab.pipelines.records import append_records

Action = Literal["registered", "challenger", "promoted", "rolled_back", "refused", "retired"]

MODELS = TableName("ops", "models")
MODELS_SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("us", tz="UTC")),
        ("model", pa.string()),
        ("version", pa.int32()),
        ("action", pa.string()),
        ("by", pa.string()),
        ("why", pa.string()),
        ("training_set", pa.string()),
        ("run_id", pa.string()),
        ("metrics", pa.string()),
        ("package_hash", pa.string()),
    ]
)


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a version. A version is live from `promoted` or `rolled_back` until `retired`."""

    at: datetime
    model: str
    version: int
    action: Action
    by: str
    why: str = ""
    training_set: str = ""
    run_id: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    package_hash: str = ""


def remember(context: Context, *entries: Entry) -> None:
    """Append entries in one commit, each a microsecond after the one before: their order is part of the history."""
    rows = [
        {
            **vars(entry),
            "at": entry.at + timedelta(microseconds=number),
            "metrics": json.dumps(dict(entry.metrics), sort_keys=True),
        }
        for number, entry in enumerate(entries)
    ]
    append_records(context, MODELS, MODELS_SCHEMA, rows)


def entries(context: Context, model: str = "") -> list[Entry]:
    """What happened, oldest first; of one model or of all."""
    state = context.lake.state(MODELS)
    if state is None or state.snapshot is None:
        return []
    read = exp.select("*").from_("records")
    query = Query(read, {"records": context.lake.files(state)}, context.now, str(MODELS))
    rows = context.engine.read(query).read_all().sort_by("at").to_pylist()
    found = [Entry(**{**row, "metrics": json.loads(row["metrics"] or "{}")}) for row in rows]
    return [entry for entry in found if model in ("", entry.model)]


def live_version(found: list[Entry]) -> int | None:
    """The version that the history of one model says is live."""
    live: int | None = None
    for entry in found:
        if entry.action in ("promoted", "rolled_back"):
            live = entry.version
        elif entry.action == "retired" and entry.version == live:
            live = None
    return live


def previous_version(found: list[Entry], live: int) -> int | None:
    """The version that was live before this one was: where a rollback leads, step by step."""
    path: list[int] = []
    for entry in found:
        if entry.action == "promoted":
            path.append(entry.version)
        elif entry.action == "rolled_back" and entry.version in path:
            del path[len(path) - path[::-1].index(entry.version) :]
    if live in path:
        path = path[: len(path) - path[::-1].index(live) - 1]
    return next((version for version in reversed(path) if version != live), None)


def lasting(found: list[Entry]) -> list[Entry]:
    """One entry for each version whose training set is asked for later: it was ever live, or is the newest."""
    chosen = {(entry.model, entry.version): entry for entry in found if entry.action == "promoted"}
    newest = {entry.model: entry for entry in found if entry.action == "registered"}
    return list({**{(entry.model, entry.version): entry for entry in newest.values()}, **chosen}.values())
