"""Labels joined with the features of their moments: one query over what was computed for each view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from datalab.engine.base import Query
from datalab.errors import FeatureError
from datalab.events import Bus, Progress
from datalab.features.derivation import MOMENT, ROW, Definition, Derivation
from datalab.features.past import Past, Told, as_of, asked_keys, features_at, named, spark, view_at
from datalab.features.recipe import Recipe

LABELS = "datalab_labels"


def joined(past: Past, recipe: Recipe, bus: Bus) -> tuple[Query, int]:
    """The query that answers a recipe's rows, in no order, and how many of its columns are the labels' own.

    The features of each view are computed here; the query only brings them together. FeatureError.
    """
    derivations = [view_at(past, definition) for definition, _ in recipe.views]
    labels = _labels(past, recipe)
    memory = {LABELS: labels}
    columns = [f"l.{named(name)} AS {named(name)}" for name in labels.column_names]
    joins = []
    for number, (derivation, (definition, entity)) in enumerate(zip(derivations, recipe.views, strict=True)):
        asked = _asked(past, recipe, definition, entity, labels)
        told = _teller(bus, f"{recipe.name}: {definition.name}")
        memory[f"datalab_asked_{number}"] = asked
        memory[f"datalab_features_{number}"] = features_at(past, derivation, asked, told)
        columns += [
            f"f{number}.{named(name)} AS {named(f'{definition.name}__{name}')}"
            for name in (derivation.timestamp, *derivation.features)
        ]
        joins.append(_join(number, recipe, derivation, entity))
    tree = spark(f"SELECT {', '.join(columns)} FROM {LABELS} AS l {' '.join(joins)}")
    return past.query(tree, memory, recipe.file), labels.num_columns


def ordered(query: Query, moment: str, columns: Sequence[str]) -> Query:
    """The query's rows in their one order: rows equal in all label columns are equal in all others."""
    keys = ", ".join(named(name) for name in (moment, *(name for name in columns if name != moment)))
    tree = spark(f"SELECT * FROM datalab_rows ORDER BY {keys}")
    tree.args["from_"].this.replace(query.tree.copy().subquery("datalab_rows"))
    return replace(query, tree=tree)


def _labels(past: Past, recipe: Recipe) -> pa.Table:
    labels = past.ask(recipe.tree(), origin=f"{recipe.file} (labels)")
    names = labels.column_names
    wanted = (recipe.moment, recipe.label, *(column for _, entity in recipe.views for column in entity))
    missing = next((name for name in wanted if name not in names), None)
    if missing:
        raise FeatureError(f"{recipe.file}: the labels have no column {missing}", f"they have: {', '.join(names)}")
    if not pa.types.is_timestamp(labels.schema.field(recipe.moment).type):
        kind = labels.schema.field(recipe.moment).type
        raise FeatureError(f"{recipe.file}: the moment {recipe.moment} is of type {kind}", "make it a TIMESTAMP")
    if not labels.num_rows:
        raise FeatureError(f"{recipe.file}: the labels' query answers no row", "wait for the first outcomes")
    return labels


def _asked(past: Past, recipe: Recipe, definition: Definition, entity: Sequence[str], labels: pa.Table) -> pa.Table:
    """The distinct entities and moments that the labels ask a view for, numbered; a NULL in an entity asks for none."""
    keys = [f"{named(column)} AS datalab_k{number}" for number, column in enumerate(entity)]
    moment = f"{as_of(definition, named(recipe.moment))} AS {MOMENT}"
    known = " AND ".join(f"{named(column)} IS NOT NULL" for column in (recipe.moment, *entity))
    tree = spark(f"SELECT DISTINCT {', '.join([*keys, moment])} FROM {LABELS} WHERE {known}")
    found = past.ask(tree, {LABELS: labels})
    return found.append_column(ROW, pa.array(range(found.num_rows), pa.int64()))


def _join(number: int, recipe: Recipe, derivation: Derivation, entity: Sequence[str]) -> str:
    """What was asked, then its features; too old ones are left out, as the online store leaves them out."""
    asked, found, moment = f"p{number}", f"f{number}", f"l.{named(recipe.moment)}"
    same = [f"l.{named(column)} = {asked}.{key}" for column, key in zip(entity, asked_keys(derivation), strict=True)]
    same.append(f"{as_of(derivation.definition, moment)} = {asked}.{MOMENT}")
    fresh = [f"{found}.{ROW} = {asked}.{ROW}"]
    if derivation.definition.ttl is not None:
        ttl = int(derivation.definition.ttl * 1_000_000)
        fresh.append(f"unix_micros({found}.{named(derivation.timestamp)}) >= unix_micros({moment}) - {ttl}")
    return (
        f"LEFT JOIN datalab_asked_{number} AS {asked} ON {' AND '.join(same)} "
        f"LEFT JOIN datalab_features_{number} AS {found} ON {' AND '.join(fresh)}"
    )


def _teller(bus: Bus, task: str) -> Told:
    return lambda done, total: bus.emit(Progress(task, done, total))
