"""Orphans, removed after a grace period: files in a table's folder that no metadata names, left by killed runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from datalab.errors import DataLabError, Fenced
from datalab.lake.commit import turns
from datalab.lake.formats.base import Overtaken
from datalab.lake.formats.upkeep import File
from datalab.lake.lake import Lake
from datalab.lake.local import local_path
from datalab.lake.table import TableState
from datalab.names import TableName

_ATTEMPTS = 20
_STAGING = ("staging-", "ingest-")


@dataclass(frozen=True)
class Vacuumed:
    """The orphans that go, or went, and those that are too young: they may belong to a writer at work."""

    table: TableName
    files: tuple[File, ...]
    young: tuple[File, ...] = ()
    error: DataLabError | None = None


def vacuum(lake: Lake, name: TableName, grace: timedelta, now: datetime, *, dry_run: bool = False) -> Vacuumed:
    """Remove the orphans of a table that were last written longer than `grace` ago. TableNotFound, NotSupported.

    What is not named is told before anything is removed, and a writer names its files only after it wrote them: a
    file without a name that is older than any run belongs to none.
    """
    state, strays = _strays(lake, name)
    old = tuple(file for file in strays if file.modified is not None and now - file.modified > grace)
    if not dry_run:
        for file in old:
            Path(file.path).unlink(missing_ok=True)
        _remove_empty_folders(state, now - grace)
    return Vacuumed(name, old, tuple(file for file in strays if file not in set(old)))


def _strays(lake: Lake, name: TableName) -> tuple[TableState, tuple[File, ...]]:
    for _ in turns(_ATTEMPTS):
        state = lake.require(name)
        with suppress(Overtaken):
            return state, tuple(lake.format(state.format).upkeep.strays(state))
    raise Fenced(f"{name}: other writers changed it {_ATTEMPTS} times while orphans were looked for", "run again")


def _remove_empty_folders(state: TableState, before: datetime) -> None:
    for folder in {local_path(state.location), local_path(state.target().location)}:
        for place in folder.glob("*") if folder is not None else ():
            if place.name.startswith(_STAGING):
                with suppress(OSError):  # not empty, or its writer has just taken it away
                    if place.stat().st_mtime < before.timestamp():
                        place.rmdir()
