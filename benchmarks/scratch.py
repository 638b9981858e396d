"""Generated tables and files below one folder, made once per size and format, and brought back to bronze alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import measured

CATALOG = "catalog.db"


@dataclass(frozen=True)
class Scratch:
    """The folder of all generated data."""

    folder: Path

    def tables(self, table_format: str, rows: int) -> Path:
        """A project whose lake holds a bronze table of so many rows."""
        project = self.folder / f"agro-{table_format}-{rows}"
        if not (project / "pristine" / "files.json").exists():
            shutil.rmtree(project, ignore_errors=True)
            print(f"  making {rows:,} bronze rows ({table_format}) …", flush=True)
            measured("bronze", project=project, table_format=table_format, rows=rows)
        return project

    def landed(self, rows: int, files: int, bad: str = "0") -> Path:
        """A project with so many simulated records in so many Avro files, none of them taken in."""
        project = self.folder / f"landed-{rows}-{files}-{bad.replace('%', '')}"
        if not (project / "landed").exists():
            shutil.rmtree(project, ignore_errors=True)
            print(f"  simulating {rows:,} records in {files:,} Avro files …", flush=True)
            measured("simulate", project=project, rows=rows, files=files, bad=bad)
            (project / "landed").touch()
        return project


def reset(project: Path) -> None:
    """Take everything out of the lake that was not there when bronze alone had been made."""
    lake, kept = project / "lake", project / "pristine"
    names = set(json.loads((kept / "files.json").read_text(encoding="utf-8")))
    for path in lake.rglob("*"):
        if path.is_file() and path.relative_to(lake).as_posix() not in names:
            path.unlink()
    if (kept / CATALOG).exists():
        shutil.copy2(kept / CATALOG, lake / CATALOG)


def emptied(project: Path) -> None:
    """Take the lake of a project away, so that its files are new again."""
    shutil.rmtree(project / "lake", ignore_errors=True)
