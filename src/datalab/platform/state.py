"""Where a project keeps what is neither its source nor its tables."""

from __future__ import annotations

from pathlib import Path

from datalab.platform.project import STATE_FOLDER
from datalab.platform.settings import Configuration


def state_folder(configuration: Configuration) -> Path:
    """The folder of everything that the platform keeps for itself."""
    return configuration.folder / STATE_FOLDER


def log_folders(configuration: Configuration) -> tuple[Path, Path]:
    """The logs of scores and of reviews."""
    folder = state_folder(configuration) / "serving"
    return folder / "scores", folder / "reviews"
