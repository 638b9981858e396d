"""Test data from a project's own simulator: a Python file with a function `simulate`."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from datalab.errors import ConfigError, InvalidSetting
from datalab.platform.settings import Configuration

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)\Z")


@dataclass(frozen=True)
class Shares:
    """Which part of simulated records is broken, late, delivered again: 0 to 1."""

    bad: float
    late: float
    duplicates: float

    @classmethod
    def parse(cls, *, bad: str, late: str, duplicates: str) -> Shares:
        """Read `0.5%` or `0.005`; InvalidSetting."""
        return cls(share("--bad", bad), share("--late", late), share("--duplicates", duplicates))


def simulate_project(
    configuration: Configuration,
    rows: int,
    shares: Shares,
    seed: int,
    extras: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Mapping[str, Any]:
    """Let the project's simulator write into its landing folders; answers its summary. ConfigError without one.

    `extras` are further arguments that the simulator may know: files, ledger, source. The landing folders are below
    `folder`, by default the project.
    """
    path = configuration.settings.simulate
    if path is None:
        raise ConfigError("this project has no simulator", "name one in datalab.yaml: simulate: simulator.py")
    asked = {"rows": rows, "bad": shares.bad, "late": shares.late, "duplicates": shares.duplicates, "seed": seed}
    module = load_file(path)
    try:
        summary: Mapping[str, Any] = module.simulate(folder or configuration.folder, **asked, **(extras or {}))
    except TypeError as error:
        raise ConfigError(f"{path.name}: {error}", "this project's simulator does not know that option") from error
    return summary


def load_file(path: Path) -> ModuleType:
    """A project's own Python file as a module; ConfigError where it is missing."""
    specification = importlib.util.spec_from_file_location(f"datalab_project_{path.stem}", path)
    if specification is None or specification.loader is None or not path.is_file():
        raise ConfigError(f"{path} cannot be loaded", "write the path of a Python file, relative to the project")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def share(name: str, text: str) -> float:
    """Read `0.5%` or `0.005` of an option; InvalidSetting."""
    match = _SHARE.match(text.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share <= 1:
        raise InvalidSetting(f"{name} {text} is not a share", "write 0.5% or 0.005")
    return share
