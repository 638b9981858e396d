"""Questions about where things came from, put to a project: rows of its tables down to the records of its sources."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from datalab.errors import RecordNotFound
from datalab.lineage.ascent import Ascent
from datalab.lineage.back import Place, Reached, reached
from datalab.lineage.deleted import deletion
from datalab.lineage.descent import Descent
from datalab.lineage.flows import Flows
from datalab.lineage.rows import Tables
from datalab.lineage.scores import Score, logged_score, missing_score, recorded_score, trace_score
from datalab.lineage.tree import Read, Row, Rows
from datalab.lineage.uses import uses_of
from datalab.lineage.wanted import wanted_rows
from datalab.names import TableName
from datalab.pipelines.graph import Graph
from datalab.platform.features import wire_features
from datalab.platform.graphs import wire_graph
from datalab.platform.lab import Lab
from datalab.platform.masking import mask_value, personal_columns
from datalab.platform.queries import Moment
from datalab.platform.state import log_folders

ROWS, ROWS_OF_A_SCORE = 10, 3
_LOGGED = "not in the lake yet: read from the server's own log (datalab flush)"


@dataclass(frozen=True)
class Question:
    """Which rows of a table: `column=value` texts, at a moment or snapshot; `limit` rows below each row, 0 all."""

    table: TableName
    keys: Sequence[str]
    at: Moment | None = None
    limit: int = ROWS


def trace_rows(lab: Lab, question: Question) -> Rows:
    """The rows of a table that were asked for, each down to its source records; personal data masked.

    TableNotFound, SnapshotNotFound, InvalidKey, RecordNotFound.
    """
    tables, flows = _opened(lab)
    state = tables.state(question.table)
    wanted = wanted_rows(question.table, state.schema, question.keys, flows.identity(question.table))
    snapshot = None if question.at is None else lab.lake.at(state, question.at)
    descent, standing = Descent(tables, flows, question.limit), tables.at(question.table, snapshot)
    found = descent.rows(standing, wanted)
    if not found.rows:
        when, by = deletion(descent, standing, wanted)
        missing = f"{question.table} has no row with {' '.join(question.keys)}"
        hint = by or f'datalab query "SELECT * FROM {question.table} LIMIT 10" shows some'
        raise RecordNotFound(f"{missing}: {when}" if when else missing, hint)
    return replace(found, rows=masked_rows(found.rows, _personal(lab, flows)))


def trace_score_of(lab: Lab, score_id: str, limit: int = ROWS_OF_A_SCORE) -> Score:
    """A score down to the source records of its features, and to what its model was trained on. RecordNotFound."""
    tables, flows = _opened(lab)
    descent = Descent(tables, flows, limit)
    record = recorded_score(tables, score_id)
    if record is not None:
        found = trace_score(descent, record)
    elif (logged := logged_score(log_folders(lab.configuration)[0], score_id)) is not None:
        found = trace_score(descent, logged, _LOGGED)
    else:
        raise missing_score(score_id)
    hidden = _personal(lab, flows)
    features = tuple(replace(each, rows=masked_rows(each.rows, hidden)) for each in found.features)
    return replace(found, values=mask_value(found.values, hidden), features=features)


def trace_back(lab: Lab, place: str, limit: int = ROWS) -> Reached:
    """Everything that a record of a source reached: FILE:ROW or TOPIC/PARTITION/OFFSET. RecordNotFound, InvalidKey."""
    tables, flows = _opened(lab)
    uses = uses_of(wire_features(lab.configuration))
    sources = {source.into for source in lab.configuration.settings.sources.values()} | set(flows.graph.sources)
    found = reached(tables, Ascent(tables, flows, limit, uses), sources, _below(Place.parse(place), lab))
    return replace(found, rows=masked_rows(found.rows, _personal(lab, flows)))


def _personal(lab: Lab, flows: Flows) -> frozenset[str]:
    """Names of personal data, as `Lab.personal_fields`, from the graph that was parsed already."""
    tagged = {field for feed in lab.feeds for field in feed.personal_fields}
    return personal_columns((node.query for node in flows.graph.flows), tagged) if tagged else frozenset()


def _below(place: Place, lab: Lab) -> Place:
    """A file that is there, named as ingest names it: below the project's folder."""
    file = Path(str(place.values.get("source_file", "")))
    folder = lab.configuration.folder.resolve()
    if not file.is_file() or not file.resolve().is_relative_to(folder):
        return place
    return Place({**place.values, "source_file": file.resolve().relative_to(folder).as_posix()})


def declared_graph(lab: Lab) -> Graph:
    """The project's flows as they are written, not yet bound against the types of their inputs. PipelineError."""
    sources = lab.configuration.settings.sources.values()
    return wire_graph(lab.configuration, {*(source.into for source in sources), *lab.lake.names()})


def masked_rows(rows: Sequence[Row], fields: Collection[str]) -> tuple[Row, ...]:
    """The same rows, what they hold under the names `fields` masked, and all rows below."""
    hidden = {field.lower() for field in fields}
    return tuple(_masked(row, hidden) for row in rows)


def _masked(row: Row, hidden: Collection[str]) -> Row:
    reads = tuple(_masked_read(read, hidden) for read in row.reads)
    return replace(row, keys=mask_value(row.keys, hidden), values=mask_value(row.values, hidden), reads=reads)


def _masked_read(read: Read, hidden: Collection[str]) -> Read:
    return replace(read, rows=tuple(_masked(row, hidden) for row in read.rows))


def _opened(lab: Lab) -> tuple[Tables, Flows]:
    tables = Tables(lab.lake, lab.engine, datetime.now(UTC))
    return tables, Flows(declared_graph(lab), tables)
