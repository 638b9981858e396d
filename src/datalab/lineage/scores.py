"""From a score to the model that gave it, what that was trained on, and the rows that its features came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from datalab.errors import InvalidName, RecordNotFound, TableNotFound
from datalab.lineage.descent import Descent
from datalab.lineage.records import is_same, values_of
from datalab.lineage.rows import PARENT, Search, Tables, links_of
from datalab.lineage.tree import Row
from datalab.lineage.wanted import wanted_values
from datalab.names import TableName
from datalab.serving.log_reader import log_files

SCORES, MODELS = TableName("ops", "scores"), TableName("ops", "models")
_JSON = ("entity", "request", "inputs", "reasons", "degraded", "metrics")


@dataclass(frozen=True)
class TrainingSet:
    """What a model was trained on: a table at a snapshot, and the snapshots of everything that it was made from."""

    table: str
    snapshot: int | None
    inputs: Mapping[str, int]
    details: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True)
class ModelVersion:
    """The version of a model that gave a score: what the registry's history says of it, oldest first."""

    name: str
    version: int
    history: tuple[Mapping[str, Any], ...]
    training_set: TrainingSet | None
    note: str = ""


@dataclass(frozen=True)
class Features:
    """The row of a feature view that a score used. `differs`: values that the table does not have as they were used."""

    view: str
    table: str
    snapshot: int | None
    timestamp: str
    entity: Mapping[str, Any]
    differs: Mapping[str, Any]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Score:
    """A score with everything below it. `values` are its record without the features."""

    score_id: str
    values: Mapping[str, Any]
    model: ModelVersion
    features: tuple[Features, ...]
    note: str = ""


def recorded_score(tables: Tables, score_id: str) -> dict[str, Any] | None:
    """The record of a score in the lake; None where it is not there."""
    if tables.lake.state(SCORES) is None:
        return None
    wanted = pa.table({"score_id": [score_id]})
    found = tables.find(tables.at(SCORES, None), Search(links_of(wanted), wanted, limit=1))
    records = found.rows.drop_columns([PARENT]).to_pylist()
    return records[0] if records else None


def logged_score(folder: Path, score_id: str) -> dict[str, Any] | None:
    """The record of a score in a server's log, where it waits for its way to the lake; None where it is not there."""
    for path in reversed(log_files(folder)):
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            continue  # taken to the lake meanwhile
        for line in lines[:-1]:
            record = _json(line.decode("utf-8", "replace")) if score_id.encode() in line else None
            if isinstance(record, dict) and record.get("score_id") == score_id:
                return record
    return None


def trace_score(descent: Descent, record: Mapping[str, Any], note: str = "") -> Score:
    """What a score's record leads to."""
    tables = descent.tables
    used = _json(record.get("features")) or {}
    features = tuple(_features(descent, view, entry) for view, entry in used.items())
    values = {name: _json(value) if name in _JSON else value for name, value in values_of(record).items()}
    values.pop("features", None)
    model = _model(tables, str(record["model"]), int(record["model_version"]))
    return Score(str(record["score_id"]), values, model, features, note)


def _model(tables: Tables, name: str, version: int) -> ModelVersion:
    if tables.lake.state(MODELS) is None:
        return ModelVersion(name, version, (), None, f"there is no table {MODELS}: nothing is known of the model")
    schema = tables.state(MODELS).schema
    wanted = wanted_values(schema, {"model": name, "version": version})
    found = tables.find(tables.at(MODELS, None), Search(links_of(wanted), wanted, order=("at",)))
    history = tuple(
        {name: _json(value) if name in _JSON else value for name, value in values_of(entry).items() if name != PARENT}
        for entry in found.rows.to_pylist()
    )
    named = next((entry["training_set"] for entry in history if entry.get("training_set")), None)
    if named is None:
        return ModelVersion(name, version, history, None, f"{MODELS} does not say what it was trained on")
    return ModelVersion(name, version, history, training_set(tables, str(named)))


def training_set(tables: Tables, named: str) -> TrainingSet:
    """A training set by its id, NAME@SNAPSHOT: its commit says what it was made from."""
    name, _, snapshot = named.partition("@")
    table, wanted = f"training.{name}", int(snapshot) if snapshot.lstrip("-").isdigit() else None
    try:
        state = tables.state(TableName.parse(table))
    except (InvalidName, TableNotFound) as error:
        return TrainingSet(table, wanted, {}, {}, error.message)
    commit = next((entry for entry in tables.lake.history(state) if entry.id == wanted), None)
    if commit is None or commit.provenance is None:
        return TrainingSet(table, wanted, {}, {}, f"{table} has no commit record at snapshot {wanted} any more")
    inputs = {source: part.to for source, part in commit.provenance.inputs.items()}
    return TrainingSet(table, wanted, inputs, commit.provenance.details.get("training_set", {}))


def _features(descent: Descent, view: str, entry: Mapping[str, Any] | None) -> Features:
    if entry is None:
        return Features(view, "", None, "", {}, {}, (), "not found for this score: unknown or expired")
    used = Features(view, entry["table"], entry.get("snapshot"), entry.get("timestamp") or "", entry["entity"], {}, ())
    try:
        name = TableName.parse(used.table)
        table = descent.tables.at(name, used.snapshot)
        rows = descent.rows(table, wanted_values(table.relation.schema, used.entity)).rows
    except (InvalidName, TableNotFound) as error:
        return replace(used, note=error.message)
    if not rows:
        return replace(used, note=table.note or "the table has no such row at this snapshot")
    served = entry.get("values") or {}
    differs = {name: value for name, value in served.items() if not _is_served(value, rows[0].values.get(name))}
    return replace(used, snapshot=table.snapshot, differs=differs, rows=rows, note=table.note)


def _is_served(served: Any, held: Any) -> bool:
    """Whether a value of JSON is the value of the table."""
    if isinstance(held, datetime) and isinstance(served, str):
        moment = datetime.fromisoformat(served)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) == held
    if isinstance(held, int | float) and isinstance(served, int | float):
        return is_same(float(served), float(held))
    return served == held or str(served) == str(held)


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def missing_score(score_id: str) -> RecordNotFound:
    """The error for a score that nobody knows."""
    return RecordNotFound(f"there is no score {score_id}", 'datalab query "SELECT score_id FROM ops.scores LIMIT 10"')
