"""The model registry that the settings name, and the key that packages are signed with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from datalab.ml.package import signing_key
from datalab.ml.registry.base import Registry, RegistryReader
from datalab.platform.project import STATE_FOLDER
from datalab.platform.settings import Configuration
from datalab.plugins import Adapter, adapter

REGISTRIES = {"mlflow": Adapter("datalab.ml.registry.mlflow:MLflowRegistry", "ml")}
READERS = {
    "sqlite": Adapter("datalab.ml.registry.sqlite_reader:SQLiteReader"),
    "http": Adapter("datalab.ml.registry.http_reader:HTTPReader"),
}
TOKEN = "MLFLOW_TRACKING_TOKEN"  # noqa: S105 - the name of MLflow's own variable


def wire_registry_reader(configuration: Configuration, environ: Mapping[str, str]) -> RegistryReader:
    """The reading half, for the server: loads neither MLflow nor SQLAlchemy."""
    chosen = configuration.settings.registry
    reader: RegistryReader
    if chosen.url:
        cache = configuration.folder / STATE_FOLDER / "models"
        reader = adapter("registry reader", "http", READERS)(chosen.url, cache, token=environ.get(TOKEN, ""))
    else:
        reader = adapter("registry reader", "sqlite", READERS)(_database(chosen.path), _artifacts(chosen.path))
    return reader


def wire_registry(configuration: Configuration, environ: Mapping[str, str]) -> Registry:
    """Both halves, for training and decisions; MLflow is imported when it is first written to, or prepared."""
    chosen, reader = configuration.settings.registry, wire_registry_reader(configuration, environ)
    kind = adapter("registry", chosen.kind, REGISTRIES)
    registry: Registry
    if chosen.url:
        registry = kind(chosen.url, None, reader)
    else:
        registry = kind(f"sqlite:///{_database(chosen.path)}", _artifacts(chosen.path), reader)
    return registry


def models_key(configuration: Configuration, *, create: bool = False) -> bytes:
    """The project's signing key; made on first use where `create`. ModelRefused."""
    return signing_key(configuration.folder / STATE_FOLDER, create=create)


def _database(folder: Path) -> Path:
    return folder / "mlflow.db"


def _artifacts(folder: Path) -> Path:
    return folder / "artifacts"
