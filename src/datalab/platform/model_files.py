"""The project's model files."""

from __future__ import annotations

from datalab.ml.declaration import Declaration
from datalab.ml.declaring import read_models
from datalab.platform.settings import Configuration


def declared_models(configuration: Configuration) -> dict[str, Declaration]:
    """The models that a project declares, by name. InvalidModel."""
    found = {path for pattern in configuration.settings.models for path in configuration.folder.glob(pattern)}
    return read_models(tuple(sorted(path for path in found if path.is_file())), configuration.folder)
