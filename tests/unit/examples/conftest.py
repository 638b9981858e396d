"""The reference projects and their simulators, loaded by path as the command line does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def agro() -> ModuleType:
    return load(EXAMPLES / "agro" / "simulator.py")


@pytest.fixture(scope="session")
def stocks() -> ModuleType:
    return load(EXAMPLES / "stocks" / "simulator.py")


@pytest.fixture(scope="session")
def stocks_report() -> ModuleType:
    return load(EXAMPLES / "stocks" / "report.py")
