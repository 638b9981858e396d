"""Training sets: labels with the features of their moments, written as a table that can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from datalab.engine.base import Engine, Query, Replace, Work
from datalab.errors import FeatureError, SnapshotNotFound
from datalab.events import Bus
from datalab.features.content import content_hash
from datalab.features.joining import joined, ordered
from datalab.features.past import Past, named, spark
from datalab.features.recipe import Recipe, recipe_of
from datalab.lake.lake import Lake
from datalab.lake.provenance import Provenance, Range
from datalab.lake.table import Relation, Snapshot, TableSpec, TableState
from datalab.names import TableName
from datalab.pipelines.execute import Context
from datalab.quality.publish import discarded_on_failure

LAYER = "training"
_DETAILS = "training_set"


@dataclass(frozen=True)
class TrainingSet:
    """One built training set. `id` is name@snapshot; `inputs` has the snapshot of every table that it was made from.

    `columns` are those of the labels' query in their order, then `view__feature`; `table` may have more, of others.
    """

    id: str
    table: TableName
    snapshot: int
    content_hash: str
    columns: tuple[str, ...]
    rows: int
    inputs: Mapping[str, int]
    recipe: Recipe
    label_columns: int

    @property
    def name(self) -> str:
        """The name without the snapshot."""
        return self.table.table

    @property
    def code(self) -> str:
        """The hash of its recipe."""
        return self.recipe.code


@dataclass(frozen=True)
class Rebuilt:
    """A training set made again from its id. `same`: the bytes are those of the recorded hash and of the table."""

    training_set: TrainingSet
    content_hash: str
    stored_hash: str
    rows: int

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.content_hash == self.stored_hash == self.training_set.content_hash


def build(context: Context, recipe: Recipe, bus: Bus | None = None) -> TrainingSet:
    """Make a training set from the tables as they are, and commit it; the newest one where nothing changed.

    FeatureError, TableNotFound, PipelineError; Fenced where another writer was first.
    """
    states = {name: context.lake.require(name) for name in sorted(recipe.tables())}
    inputs = {name: _snapshot(state) for name, state in states.items()}
    name = TableName(LAYER, recipe.name)
    newest = find(context.lake, recipe.name)
    if newest and newest.code == recipe.code and newest.inputs == {str(t): s for t, s in inputs.items()}:
        return newest
    tables = {name: context.lake.files(state, inputs[name]) for name, state in states.items()}
    past = Past(context.engine, tables, context.now)
    query, label_columns = joined(past, recipe, bus or Bus())
    schema = context.engine.schema(query)
    state = context.lake.define(name, TableSpec(schema, comment=f"Training set {recipe.name}"), keep_missing=True)
    return _commit(context, state, recipe, Made(query, tuple(schema.names), label_columns, inputs))


@dataclass(frozen=True)
class Made:
    """Rows ready to be written, and the snapshots that they come from."""

    query: Query
    columns: tuple[str, ...]
    label_columns: int
    inputs: Mapping[TableName, int]


def _commit(context: Context, state: TableState, recipe: Recipe, made: Made) -> TrainingSet:
    current = context.lake.files(state) if state.snapshot is not None else Relation(state.schema)
    staged = context.engine.stage(Work(made.query, state.target(), Replace(), (), current))
    with discarded_on_failure(context.engine, staged):
        rows = _sorted(
            context.engine, Relation(state.schema, staged.add), recipe.moment, made.columns, made.label_columns
        )
        details = {
            "content_hash": content_hash(rows),
            "rows": rows.num_rows,
            "seed": recipe.seed,
            "code": recipe.code,
            "columns": list(made.columns),
            "label_columns": made.label_columns,
            "recipe": recipe.record(),
        }
        provenance = Provenance(
            run_id=context.run_id,
            flow=recipe.name,
            kind="replace",
            code=recipe.code,
            inputs={str(table): Range(None, snapshot) for table, snapshot in made.inputs.items()},
            details={_DETAILS: details, "keeps": {str(table): snapshot for table, snapshot in made.inputs.items()}},
            read=staged.read,
            written=staged.written,
            fresh=True,
        )
        context.lake.commit(state, staged.change(provenance))
    made_set = find(context.lake, recipe.name)
    assert made_set is not None
    return made_set


def find(lake: Lake, set_id: str) -> TrainingSet | None:
    """A training set by id, or the newest by its name; None where there is none of that name.

    SnapshotNotFound where the table has no such snapshot any more.
    """
    name, _, snapshot = set_id.partition("@")
    state = lake.state(TableName(LAYER, name))
    if state is None or state.snapshot is None:
        return None
    history = [entry for entry in lake.history(state) if entry.provenance and _DETAILS in entry.provenance.details]
    chosen = [entry for entry in history if not snapshot or str(entry.id) == snapshot]
    if snapshot and not chosen:
        raise SnapshotNotFound(f"there is no training set {set_id}", f"datalab data history {LAYER}.{name}")
    return _training_set(state.name, chosen[-1]) if chosen else None


def require(lake: Lake, set_id: str) -> TrainingSet:
    """A training set by id or name that must be there."""
    found = find(lake, set_id)
    if found is None:
        raise FeatureError(f"the training set {set_id} was never built", f"datalab features training-set {set_id}")
    return found


def _training_set(table: TableName, entry: Snapshot) -> TrainingSet:
    assert entry.provenance is not None
    details: Mapping[str, Any] = entry.provenance.details[_DETAILS]
    return TrainingSet(
        f"{table.table}@{entry.id}",
        table,
        entry.id,
        details["content_hash"],
        tuple(details["columns"]),
        details["rows"],
        {name: part.to for name, part in entry.provenance.inputs.items()},
        recipe_of(details["recipe"]),
        details["label_columns"],
    )


def read(lake: Lake, engine: Engine, set_id: str) -> pa.Table:
    """The rows of a training set in their one order: by moment, then by the labels' other columns."""
    found = require(lake, set_id)
    relation = lake.files(lake.require(found.table), found.snapshot)
    return _sorted(engine, relation, found.recipe.moment, found.columns, found.label_columns)


def _sorted(engine: Engine, rows: Relation, moment: str, columns: Sequence[str], label_columns: int) -> pa.Table:
    tree = spark(f"SELECT {', '.join(map(named, columns))} FROM rows")
    query = Query(tree, {"rows": rows}, datetime.now(UTC), "training set")
    return engine.read(ordered(query, moment, columns[:label_columns])).read_all()


def _snapshot(state: TableState) -> int:
    if state.snapshot is None:
        raise FeatureError(f"{state.name} has no rows yet", f"datalab run {state.name}")
    return state.snapshot


def rebuild(context: Context, set_id: str, bus: Bus | None = None) -> Rebuilt:
    """Make a training set again from the snapshots and the recipe that its commit names, and compare; writes nothing.

    SnapshotNotFound where an input is gone.
    """
    found = require(context.lake, set_id)
    names = {TableName.parse(table): snapshot for table, snapshot in found.inputs.items()}
    tables = {name: context.lake.files(context.lake.require(name), snapshot) for name, snapshot in names.items()}
    query, label_columns = joined(Past(context.engine, tables, context.now), found.recipe, bus or Bus())
    rows = ordered(query, found.recipe.moment, found.columns[:label_columns])
    made = context.engine.read(rows).read_all()
    stored = content_hash(read(context.lake, context.engine, found.id))
    return Rebuilt(found, content_hash(made), stored, made.num_rows)
