"""The build's own step: the part in C is compiled where there is a compiler, and left out where there is none."""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src", "datalab", "ingest", "native")


class Native(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles, and names the platform in the wheel's file name; it fits any Python from 3.11 on."""

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Before files are gathered; also for an editable installation."""
        built = runpy.run_path(str(Path(self.root, NATIVE, "build.py")))
        problem = built["build"]()
        if problem:
            self.app.display_warning(f"topics and Avro files are read in Python, which is slower: {problem}")
            return
        build_data["artifacts"].append(str(NATIVE / built["LIBRARY"].name))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
