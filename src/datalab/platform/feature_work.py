"""What a project does with its features: into the online store, compared, looked up, made into training sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from datalab.errors import FeatureError
from datalab.features import training
from datalab.features.derivation import define
from datalab.features.materialize import Gold, Materialized, head, materialize
from datalab.features.online.base import Lookup, OnlineStore, Stored
from datalab.features.parity import Parity, check
from datalab.features.recipe import recipe
from datalab.features.training import Rebuilt, TrainingSet
from datalab.features.views import FeatureView
from datalab.platform.features import wire_features
from datalab.platform.lab import Lab
from datalab.platform.online import wire_online_store


@contextmanager
def online_store(lab: Lab) -> Iterator[OnlineStore]:
    """The project's online store, closed after the block."""
    store = wire_online_store(lab.configuration, lab.environ)
    try:
        yield store
    finally:
        store.close()


def chosen_views(lab: Lab, names: Sequence[str]) -> tuple[FeatureView, ...]:
    """The views of those names; all of them where none is named. FeatureError."""
    definitions = wire_features(lab.configuration)
    return tuple(definitions.view(name) for name in names or definitions.views)


def materialize_views(
    lab: Lab, store: OnlineStore, names: Sequence[str] = (), *, rebuild: bool = False
) -> list[Materialized]:
    """Bring views in the store to the heads of their tables, one after the other."""
    return [materialize(_head(lab, view), store, view, lab.bus, rebuild=rebuild) for view in chosen_views(lab, names)]


def compare_views(lab: Lab, store: OnlineStore, names: Sequence[str] = (), sample: int = 1000) -> list[Parity]:
    """Compare a sample of each view in the store with the lake."""
    return [check(_head(lab, view), store, view, define(view, lab.graph), sample) for view in chosen_views(lab, names)]


def look_up(lab: Lab, store: OnlineStore, name: str, words: Sequence[str]) -> tuple[Lookup, Stored | None]:
    """What the store serves now of an entity given as texts, in the order of the view's entity. FeatureError."""
    (view,) = chosen_views(lab, [name])
    if len(words) != len(view.entity):
        raise FeatureError(
            f"view {name} has {len(view.entity)} entity columns, and {len(words)} values are given",
            f"datalab features get {name} {' '.join(column.upper() for column in view.entity)}",
        )
    schema = lab.lake.require(view.table).schema
    entity = tuple(_typed(word, schema.field(column)) for column, word in zip(view.entity, words, strict=True))
    wanted = Lookup(name, entity)
    return wanted, store.read([wanted], datetime.now(UTC))[0]


def build_training_set(lab: Lab, name: str) -> TrainingSet:
    """Make a training set from the tables as they are; the newest one where nothing changed since."""
    definitions = wire_features(lab.configuration)
    return training.build(lab.context(), recipe(definitions.training_set(name), definitions, lab.graph), lab.bus)


def rebuild_training_set(lab: Lab, set_id: str) -> Rebuilt:
    """Make a training set again from its id and compare; nothing is written."""
    return training.rebuild(lab.context(), set_id, lab.bus)


def _head(lab: Lab, view: FeatureView) -> Gold:
    return head(lab.lake, lab.engine, view, datetime.now(UTC))


def _typed(word: str, field: pa.Field[Any]) -> Any:
    kind = field.type
    try:
        if pa.types.is_integer(kind):
            return int(word)
        if pa.types.is_boolean(kind):
            return {"true": True, "false": False}[word.lower()]
        if pa.types.is_timestamp(kind):
            moment = datetime.fromisoformat(word)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return date.fromisoformat(word) if pa.types.is_date(kind) else word
    except (ValueError, KeyError) as error:
        raise FeatureError(f"'{word}' is no value of {field.name}, which is {kind}", "correct it") from error
