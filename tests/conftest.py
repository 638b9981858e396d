"""Fixtures of all tests: a command line in this process, projects in temporary folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from datalab.cli.app import execute
from datalab.ingest.decode import messages
from datalab.ingest.decode.avro_form import form_of
from datalab.ingest.native.build import LIBRARY

settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Answer:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DATALAB_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["native", "python"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Avro is read by the part in C, then without it."""
    if request.param == "native" and not LIBRARY.exists():
        pytest.skip("the part in C was not built: a C compiler is needed when the package is installed")
    monkeypatch.setenv("DATALAB_NATIVE", "on" if request.param == "native" else "off")
    for known in (form_of, messages._form):
        known.cache_clear()
    return str(request.param)


@pytest.fixture
def datalab(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command line in this process: `datalab("config", "show")`."""

    def run(*args: str | Path) -> Answer:
        capsys.readouterr()
        code = execute([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, the current folder of the test."""
    (tmp_path / "datalab.yaml").write_text("name: pedidos\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
