"""The model registry's promises, by every adapter: versions, aliases, packages as they were written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests import packages

from datalab.errors import RegistryUnavailable
from datalab.ml.package import read_package
from datalab.ml.registry.base import Registry, Training
from datalab.ml.registry.http_reader import HTTPReader
from datalab.ml.registry.mlflow import MLflowRegistry
from datalab.ml.registry.sqlite_reader import SQLiteReader

KEY = b"k" * 32
SERVER = os.environ.get("MLFLOW_TEST_SERVER", "")  # http://127.0.0.1:5000: a fresh server that keeps artifacts
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)


def open_registry(folder: Path) -> MLflowRegistry:
    database, artifacts = folder / "mlflow.db", folder / "artifacts"
    return MLflowRegistry(f"sqlite:///{database}", artifacts, SQLiteReader(database, artifacts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


def open_server(folder: Path) -> MLflowRegistry:
    return MLflowRegistry(SERVER, None, HTTPReader(SERVER, folder / "cache"))


@pytest.fixture(params=["sqlite", "server"])
def opening(folder: Path, request: pytest.FixtureRequest) -> Callable[[], MLflowRegistry]:
    """Opens the registry of an adapter; the same one each time."""
    if request.param == "server" and not SERVER:
        pytest.skip("MLFLOW_TEST_SERVER names no MLflow server")
    return lambda: (open_server if request.param == "server" else open_registry)(folder)


@pytest.fixture
def registry(opening: Callable[[], MLflowRegistry]) -> Iterator[Registry]:
    opened = opening()
    yield opened
    opened.close()


def register(registry: Registry, model: str, scratch: Path) -> tuple[int, str]:
    card = scratch / "card.md"
    card.write_text(f"# {model}", encoding="utf-8")
    figures = {"auc": 0.8, "of_nothing": float("nan")}
    training = Training(model, "credito@7", {"trees": 3}, figures, {"who": "test"}, {"card.md": card})

    def package(number: int) -> Path:
        return packages.make_package(scratch / f"{model}-{number}", KEY, version=number, bias=-number / 10).folder

    return registry.register(training, package)


def test_versions_count_from_one_and_their_packages_are_as_they_were_written(
    registry: Registry, tmp_path: Path
) -> None:
    assert [register(registry, "contas", tmp_path)[0] for _ in range(2)] == [1, 2]
    for number in (1, 2):
        found = registry.version("contas", number)
        assert found is not None
        package = read_package(found.package, KEY)
        assert (package.version, package.hash) == (
            number,
            read_package(tmp_path / f"contas-{number}", KEY).hash,
        )
    assert registry.version("contas", 3) is None
    assert registry.version("nada", 1) is None


def test_a_new_version_is_not_live(registry: Registry, tmp_path: Path) -> None:
    register(registry, "calado", tmp_path)
    assert registry.champion("calado") is None
    assert registry.alias("calado", "challenger") is None


def test_an_alias_moves_and_says_since_when(registry: Registry, tmp_path: Path) -> None:
    for _ in range(2):
        register(registry, "movel", tmp_path)
    for number, version in enumerate((1, 2, 1)):
        at = NOW + timedelta(hours=number)
        registry.point("movel", "champion", version, at)
        live = registry.champion("movel")
        assert live is not None
        assert (live.version, live.since) == (version, at)
    registry.point("movel", "challenger", 2, NOW)
    challenger = registry.alias("movel", "challenger")
    assert challenger is not None
    assert challenger.version == 2


def test_a_version_that_failed_is_never_seen(registry: Registry, tmp_path: Path) -> None:
    register(registry, "falho", tmp_path)

    def full(number: int) -> Path:
        raise OSError(28, "No space left on device")

    with pytest.raises(RegistryUnavailable, match="No space left"):
        registry.register(Training("falho", "credito@7", {}, {}), full)
    assert registry.version("falho", 2) is None
    version, _ = register(registry, "falho", tmp_path)
    assert version == 3
    found = registry.version("falho", 3)
    assert found is not None
    assert read_package(found.package, KEY).version == 3


def test_two_trainings_at_once_get_different_numbers(
    opening: Callable[[], MLflowRegistry], registry: Registry, tmp_path: Path
) -> None:
    """The package is made for the number that was taken, so there is nothing to race for."""
    other = opening()
    numbers = []

    def meanwhile(number: int) -> Path:
        numbers.append(register(other, "disputa", tmp_path)[0])
        return packages.make_package(tmp_path / f"late-{number}", KEY, version=number).folder

    numbers.append(registry.register(Training("disputa", "credito@7", {}, {}), meanwhile)[0])
    other.close()
    assert sorted(numbers) == [1, 2]
    for number in numbers:
        found = registry.version("disputa", number)
        assert found is not None
        assert read_package(found.package, KEY).version == number


def test_a_model_of_another_name_is_not_touched(registry: Registry, tmp_path: Path) -> None:
    register(registry, "um", tmp_path)
    register(registry, "outro", tmp_path)
    registry.point("um", "champion", 1, NOW)
    assert registry.champion("outro") is None


def test_the_folder_can_be_moved(folder: Path, tmp_path: Path) -> None:
    """Readers find packages relative to the folder that the settings name, not where they were first written."""
    registry = open_registry(folder)
    register(registry, "mudado", tmp_path)
    registry.point("mudado", "champion", 1, NOW)
    moved = tmp_path / "moved"
    moved.symlink_to(folder)
    live = SQLiteReader(moved / "mlflow.db", moved / "artifacts").champion("mudado")
    assert live is not None
    assert moved in live.package.parents
    assert read_package(live.package, KEY).name == "credito"


def test_before_the_first_training_nothing_is_live_and_reading_makes_no_file(tmp_path: Path) -> None:
    reader = SQLiteReader(tmp_path / "mlflow.db", tmp_path / "artifacts")
    assert reader.champion("credito") is None
    assert reader.version("credito", 1) is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(RegistryUnavailable, match="cannot be read"):
        SQLiteReader(tmp_path / "mlflow.db", tmp_path).champion("credito")


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="cannot be reached"):
        HTTPReader("http://127.0.0.1:9", tmp_path).champion("credito")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    registry = open_registry(tmp_path)
    with pytest.raises(RegistryUnavailable, match="mlflow"):
        registry.point("credito", "champion", 1, NOW)


def test_the_reading_half_loads_nothing_heavy() -> None:
    probe = (
        "import sys; from datalab.platform.registry import wire_registry_reader; import datalab.ml.package; "
        "import datalab.ml.registry.sqlite_reader, datalab.ml.registry.http_reader; "
        "print(sorted(set(sys.modules) & {'mlflow', 'sqlalchemy', 'sklearn', 'skl2onnx', 'onnx', 'onnxruntime'}))"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_database_that_mlflow_is_still_making_has_no_versions(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.close()
    reader = SQLiteReader(tmp_path / "mlflow.db", tmp_path / "artifacts")
    assert reader.champion("credito") is None
    assert reader.version("credito", 1) is None


def test_what_is_read_while_mlflow_opens_is_asked_again_when_it_has(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    registry = MLflowRegistry(f"sqlite:///{database}", tmp_path, SQLiteReader(database, tmp_path, timeout=0.01))
    with pytest.raises(RegistryUnavailable):
        registry.champion("credito")
    registry._opening = threading.Thread(target=connection.close)
    registry._opening.start()
    assert registry.champion("credito") is None


PREPARE = """
import sys
from pathlib import Path
from datalab.ml.registry.mlflow import MLflowRegistry

folder = Path(sys.argv[1])
registry = MLflowRegistry(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", None)
registry.prepare()
print(hasattr(sys.modules["polars"], "DataFrame"), "pandas" in sys.modules)
registry.close()
"""


def test_training_beside_the_registrys_start_meets_no_half_loaded_module(tmp_path: Path) -> None:
    """scikit-learn asks `sys.modules` for polars and pandas, and takes `DataFrame` from what it finds."""
    tmp_path.joinpath("pandas.py").write_text("import time; time.sleep(0.2); DataFrame = Series = None")
    found = subprocess.run(
        [sys.executable, "-c", PREPARE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["True", "True"]
