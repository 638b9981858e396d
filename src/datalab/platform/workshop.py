"""What work on models needs, opened from a project: its training sets, registry, key and history."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial

import pyarrow as pa

from datalab.errors import InvalidModel
from datalab.features.recipe import recipe
from datalab.features.training import build, read
from datalab.features.views import Definitions
from datalab.ml.declaration import Declaration
from datalab.ml.history import Entry, entries
from datalab.ml.keys import require_keys
from datalab.ml.lifecycle import Desk
from datalab.platform.features import wire_features
from datalab.platform.lab import Lab
from datalab.platform.model_files import chosen_model, declared_models
from datalab.platform.models import TrainingSets, Workshop
from datalab.platform.registry import models_key, wire_registry

REPORTS = "reports/models"


class LabTrainingSets:
    """The training sets of a project, built in its lake."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    @cached_property
    def _definitions(self) -> Definitions:
        return wire_features(self._lab.configuration)

    def build(self, name: str) -> tuple[str, pa.Table]:
        """Build a training set from the tables as they are now; answers its id and its rows. FeatureError."""
        wanted = recipe(self._definitions.training_set(name), self._definitions, self._lab.graph)
        made = build(self._lab.context(), wanted, self._lab.bus)
        return made.id, self.read(made.id)

    def read(self, set_id: str) -> pa.Table:
        """The rows of one that was built before. FeatureError, SnapshotNotFound."""
        return read(self._lab.lake, self._lab.engine, set_id)

    def units(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """For each view of groups in a training set, the set's columns that are its entity. FeatureError."""
        views = self._definitions.training_set(name).views
        return {view: columns for view, columns in views.items() if self._definitions.view(view).accuracy != "event"}

    def entities(self, declaration: Declaration) -> Mapping[str, tuple[str, ...]]:
        """The key columns of each view that a model reads. InvalidModel where the model names more, fewer or others."""
        found, columns = {}, {}
        for name, parts in declaration.views.items():
            view = self._definitions.view(name)
            entity, table = view.entity, self._lab.lake.state(view.table)
            if len(entity) != len(parts):
                raise InvalidModel(
                    f"{declaration.file}: views.{name}.entity names {len(parts)} values, the view has {len(entity)}",
                    f"the view's entity is {', '.join(entity)}",
                )
            found[name] = entity
            if table is not None:
                columns[name] = table.schema
        require_keys(declaration, found, columns)
        return found


@contextmanager
def open_workshop(lab: Lab, by: str, sets: TrainingSets | None = None, *, writes: bool = True) -> Iterator[Workshop]:
    """The models of a project. Where it `writes`, the registry opens in the background, and a key is made if needed.

    InvalidModel.
    """
    configuration = lab.configuration
    declarations = declared_models(configuration)
    registry = wire_registry(configuration, os.environ)
    if writes:
        registry.prepare()
    try:
        desk = Desk(lab.context(), registry, partial(models_key, configuration, create=writes), by)
        found = LabTrainingSets(lab) if sets is None else sets
        yield Workshop(declarations, found, desk, configuration.folder / REPORTS, lab.bus)
    finally:
        registry.close()


def read_history(lab: Lab, model: str) -> list[Entry]:
    """What happened to the versions of a model, or of all, oldest first.

    ModelNotFound for a name that neither the project's files nor its history have.
    """
    found = entries(lab.context(), model)
    if model and not found:
        chosen_model(declared_models(lab.configuration), model)
    return found
