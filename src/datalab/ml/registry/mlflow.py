"""MLflow as the registry: on a SQLite file of its own, or on an MLflow server. Imported for training only."""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from datalab.errors import DataLabError, MissingExtra, RegistryUnavailable
from datalab.ml.registry.base import (
    PACKAGE_TAG,
    SINCE_TAG,
    TRAINING_SET_TAG,
    Alias,
    Live,
    RegistryReader,
    Training,
)
from datalab.plugins import load

T = TypeVar("T")
_PACKAGE = "package"
_LONGEST = 5000  # of a tag or parameter


class MLflowRegistry:
    """Writes through MLflow's client, reads through `reader`. `artifacts` None: the server keeps the files."""

    def __init__(self, uri: str, artifacts: Path | None, reader: RegistryReader) -> None:
        self._uri = uri
        self._artifacts = artifacts
        self._reader = reader
        self._opened: Any = None
        self._error: Exception | None = None
        self._opening: threading.Thread | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Import MLflow and make its database in a thread that starts now: both take seconds that training can use.

        What scikit-learn looks for among loaded modules is loaded before: it would take half a module for a whole one.
        """
        with self._lock:
            if self._opening is None:
                for name in _LOOKED_FOR:
                    with suppress(ImportError):
                        importlib.import_module(name)
                self._opening = threading.Thread(target=self._open, name="registry", daemon=True)
                self._opening.start()

    def champion(self, model: str) -> Live | None:
        """The live version; None where there is none."""
        return self._read(lambda: self._reader.champion(model))

    def alias(self, model: str, alias: Alias) -> Live | None:
        """The version under an alias."""
        return self._read(lambda: self._reader.alias(model, alias))

    def version(self, model: str, version: int) -> Live | None:
        """One version, live or not."""
        return self._read(lambda: self._reader.version(model, version))

    def register(self, training: Training, package: Callable[[int], Path]) -> tuple[int, str]:
        """Keep a run, its files and a package as a new version; answers version and run id."""
        return self._ask(lambda client: self._register(client, training, package))

    def point(self, model: str, alias: Alias, version: int, at: datetime) -> None:
        """Let an alias name this version from now on; the alias itself is one row, changed in one transaction."""

        def change(client: Any) -> None:
            if alias == "champion":
                client.set_model_version_tag(model, str(version), SINCE_TAG, at.isoformat())
            client.set_registered_model_alias(model, alias, str(version))

        self._ask(change)

    def close(self) -> None:
        """Wait for a start that is still under way, so that no thread outlives the work."""
        if self._opening is not None:
            self._opening.join()

    def _read(self, what: Callable[[], T]) -> T:
        """What is read while MLflow makes its database may find it locked: then once more when that is done."""
        try:
            return what()
        except RegistryUnavailable:
            if self._opening is None:
                raise
            self.close()
            return what()

    def _register(self, client: Any, training: Training, package: Callable[[int], Path]) -> tuple[int, str]:
        run = client.create_run(self._experiment(client, training.model), tags=dict(training.tags))
        run_id, source = str(run.info.run_id), f"{run.info.artifact_uri}/{_PACKAGE}"
        number = 0
        try:
            self._log(client, run_id, training)
            number = self._number(client, training, run_id, source)
            client.log_artifacts(run_id, str(package(number)), _PACKAGE)
            client.set_model_version_tag(training.model, str(number), PACKAGE_TAG, self._place(source))
        except BaseException:
            if number:
                client.delete_model_version(training.model, str(number))
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id)
        return number, run_id

    def _experiment(self, client: Any, model: str) -> str:
        name = f"datalab/{model}"
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = None if self._artifacts is None else self._artifacts.resolve().as_uri()
        return str(client.create_experiment(name, artifact_location=place))

    def _log(self, client: Any, run_id: str, training: Training) -> None:
        now = int(time.time() * 1000)
        metric, param = load("mlflow.entities:Metric"), load("mlflow.entities:Param")
        figures = [metric(name, value, now, 0) for name, value in training.metrics.items() if value == value]  # noqa: PLR0124 - NaN
        params = [param(name, str(value)[:_LONGEST]) for name, value in training.params.items()]
        client.log_batch(run_id, figures, params)
        for place, path in training.files.items():
            client.log_artifact(run_id, str(path), str(Path(place).parent) if "/" in place else None)

    def _number(self, client: Any, training: Training, run_id: str, source: str) -> int:
        if not any(found.name == training.model for found in client.search_registered_models()):
            client.create_registered_model(training.model)
        tags = {TRAINING_SET_TAG: training.training_set}
        return int(client.create_model_version(training.model, source, run_id, tags=tags).version)

    def _place(self, source: str) -> str:
        """Where a reader finds the package: relative to the artifacts' folder, or to the server's."""
        if self._artifacts is not None:
            return source.removeprefix(self._artifacts.resolve().as_uri()).lstrip("/")
        return source.partition(":")[2].lstrip("/")

    def _ask(self, what: Callable[[Any], T]) -> T:
        self.prepare()
        self.close()
        if isinstance(self._error, ModuleNotFoundError):
            raise MissingExtra("the registry 'mlflow'", "ml") from self._error
        if self._error is not None:
            raise _translated(self._uri, self._error) from self._error
        _quiet()
        try:
            return what(self._opened)
        except DataLabError:
            raise
        except Exception as error:
            raise _translated(self._uri, error) from error

    def _open(self) -> None:
        try:
            _quiet()
            if self._artifacts is not None:
                self._artifacts.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._opened = load("mlflow:MlflowClient")(self._uri, self._uri)
        except Exception as error:  # noqa: BLE001 - told to whoever asks first
            self._error = error


def _quiet() -> None:
    """No telemetry, no words on stderr, no complaints about what MLflow itself calls."""
    os.environ.update(_SETTINGS)
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")


_LOOKED_FOR = ("pandas", "polars")
_SETTINGS: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def _translated(uri: str, error: Exception) -> RegistryUnavailable:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RegistryUnavailable(
        f"the model registry {uri} failed: {first}", "see registry in datalab.yaml; then run again"
    )
