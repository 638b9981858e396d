"""Feature views, training sets and models on the map: what lies behind the gold tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from datalab.features.views import Definitions, FeatureView, TrainingSetSpec
from datalab.lineage.columns import NOTHING, Origins, Ref, origins
from datalab.lineage.map import Drawing, Thing
from datalab.lineage.resolve import Unresolved, resolved
from datalab.names import TableName

FEATURES, TRAINING, MODELS = "features", "training", "models"


@dataclass(frozen=True)
class ModelUse:
    """A declared model: the training set that it learns from, and the columns of it that it uses."""

    name: str
    training_set: str
    columns: Sequence[str]
    file: str


def draw_consumers(drawing: Drawing, definitions: Definitions, models: Collection[ModelUse]) -> None:
    """Add everything that reads gold to a map of the tables."""
    for view in definitions.views.values():
        _draw_view(drawing, view)
    for training_set in definitions.sets.values():
        _draw_set(drawing, training_set, definitions)
    for model in models:
        owner = f"{TRAINING}.{model.training_set}"
        known = drawing.things[owner].columns if owner in drawing.things else ()
        used = {name: frozenset({Ref(owner, name)}) for name in model.columns if name in known}
        thing = Thing(f"{MODELS}.{model.name}", "model", tuple(used), (model.file,))
        drawing.add(thing, Origins(used, NOTHING if used else frozenset({Ref(owner)})), model.file)


def _draw_view(drawing: Drawing, view: FeatureView) -> None:
    table = str(view.table)
    known = drawing.things[table].columns if table in drawing.things else ()
    kept = {*view.entity, view.timestamp}
    features = view.features or [name for name in known if name not in kept]
    names = [*view.entity, view.timestamp, *features]
    columns = {name: frozenset({Ref(table, name)}) for name in names}
    rows = frozenset(Ref(table, name) for name in kept)
    thing = Thing(f"{FEATURES}.{view.name}", "feature view", tuple(names), (view.file,))
    drawing.add(thing, Origins(columns, rows), view.file)


def _draw_set(drawing: Drawing, training_set: TrainingSetSpec, definitions: Definitions) -> None:
    found, note = _labels(drawing, training_set)
    columns = dict(found.columns)
    for name in training_set.views:
        view = definitions.views[name]
        owner = f"{FEATURES}.{name}"
        features = [each for each in drawing.things[owner].columns if each not in {*view.entity, view.timestamp}]
        columns |= {f"{name}__{feature}": frozenset({Ref(owner, feature)}) for feature in features}
    thing = Thing(f"{TRAINING}.{training_set.name}", "training set", tuple(columns), (training_set.file,), note)
    drawing.add(thing, Origins(columns, found.rows), training_set.file)


def _labels(drawing: Drawing, training_set: TrainingSetSpec) -> tuple[Origins, str]:
    """Where the columns of the label query come from."""
    tables = {TableName.parse(name): thing.columns for name, thing in drawing.things.items() if _is_table(thing)}
    whole = {name: [column for column in columns if "." not in column] for name, columns in tables.items()}
    try:
        query = sqlglot.parse_one(training_set.labels, read="spark", into=exp.Select)
        return origins(resolved(query, whole)), ""
    except (SqlglotError, Unresolved) as error:
        known: Mapping[str, frozenset[Ref]] = {training_set.label: NOTHING}
        return Origins(known), f"its labels cannot be followed: {str(error).splitlines()[0]}"


def _is_table(thing: Thing) -> bool:
    return thing.kind in {"source table", "streaming table", "materialized view"}
