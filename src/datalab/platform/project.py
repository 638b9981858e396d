"""Where a project is on disk, and the templates that a new one starts from."""

from __future__ import annotations

import shutil
from pathlib import Path

from datalab.errors import ConfigError, ProjectNotFound

PROJECT_FILE = "datalab.yaml"
STATE_FOLDER = ".datalab"
PUSHED = "push"
_PACKAGE = Path(__file__).resolve().parent.parent
_MADE_BY_RUNS = shutil.ignore_patterns("lake", "lake-stack", PUSHED, STATE_FOLDER, "reports", "__pycache__", "*.pyc")


def find_project(start: Path) -> Path:
    """The nearest folder with a datalab.yaml, from `start` upwards; ProjectNotFound."""
    folder = start.resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate
    raise ProjectNotFound(f"no {PROJECT_FILE} in {start} or any folder above it", "datalab init NAME")


def open_project(path: Path) -> Path:
    """The project that `path` names, a folder or its datalab.yaml, without walking up; ProjectNotFound."""
    folder = path.parent if path.name == PROJECT_FILE else path
    if not (folder / PROJECT_FILE).is_file():
        raise ProjectNotFound(f"no {PROJECT_FILE} in {folder}", f"datalab init {folder}")
    return folder.resolve()


def shipped(name: str) -> Path:
    """A folder that comes with the package: inside an installed package, or beside `src` in a checkout. ConfigError."""
    for folder in (_PACKAGE / name, _PACKAGE.parent.parent / name):
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"this installation lacks the folder '{name}'", "reinstall the package: pip install --force-reinstall datalab"
    )


def examples_folder() -> Path:
    """The example projects."""
    return shipped("examples")


def templates() -> dict[str, Path]:
    """The projects that `datalab init` can copy, by name."""
    return {path.parent.name: path.parent for path in sorted(examples_folder().glob(f"*/{PROJECT_FILE}"))}


def create_project(template: Path, folder: Path) -> None:
    """Copy a template, without what runs have made of it, into a new or empty folder; ConfigError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty", "choose another name, or empty the folder first")
    shutil.copytree(template, folder, ignore=_MADE_BY_RUNS, dirs_exist_ok=True)
