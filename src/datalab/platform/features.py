"""The project's feature files."""

from __future__ import annotations

from datalab.features.views import Definitions, read_definitions
from datalab.platform.settings import Configuration


def wire_features(configuration: Configuration) -> Definitions:
    """The feature views and training sets of a project. FeatureError."""
    patterns = configuration.settings.features
    found = {path for pattern in patterns for path in configuration.folder.glob(pattern) if path.is_file()}
    return read_definitions(found, configuration.folder)
