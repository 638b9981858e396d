"""The project's model files."""

from __future__ import annotations

from collections.abc import Mapping

from datalab.errors import ModelNotFound
from datalab.ml.declaration import Declaration
from datalab.ml.declaring import read_models
from datalab.platform.settings import Configuration


def declared_models(configuration: Configuration) -> dict[str, Declaration]:
    """The models that a project declares, by name. InvalidModel."""
    found = {path for pattern in configuration.settings.models for path in configuration.folder.glob(pattern)}
    return read_models(tuple(sorted(path for path in found if path.is_file())), configuration.folder)


def chosen_model(declarations: Mapping[str, Declaration], name: str | None) -> Declaration:
    """A model by name, or the only one. ModelNotFound."""
    if name is None and len(declarations) == 1:
        return next(iter(declarations.values()))
    if name is None or name not in declarations:
        known = ", ".join(sorted(declarations)) or "none; declare one in models/*.yaml"
        raise ModelNotFound(f"no model '{name}'" if name else "name a model", f"known here: {known}")
    return declarations[name]
