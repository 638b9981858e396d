"""What a rewriting changed, kept beside the table: the rows that came and the rows that went, without mere copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datalab.engine.base import Staged
from datalab.engine.relations import columns
from datalab.engine.rewriting import Rewrite
from datalab.engine.session import Session
from datalab.engine.writing import BUCKET, ENTERED, LEFT, Folder, Written, write
from datalab.lake.beside import CHANGES
from datalab.lake.table import DataFile, RowChanges, WriteTarget

_COMPRESSION = "snappy"


def recorded(
    session: Session, folder: Folder, target: WriteTarget, change: Rewrite, entered: str = ""
) -> RowChanges | None:
    """Side files of a rewriting; `entered` names the new rows that it wrote among copies. None where it kept none."""
    if not change.removed:
        return RowChanges()
    if change.sides is not None:
        return _kept(folder, change.sides)
    if not change.left:
        return None
    names = columns(target.schema.names)
    parts = [f"SELECT {names}, {LEFT} AS {BUCKET} FROM {change.left}"]
    if entered:
        parts.append(f"SELECT {names}, {ENTERED} AS {BUCKET} FROM {entered}")
    plain = WriteTarget(target.name, target.location, target.schema, compression=_COMPRESSION)
    return _kept(folder, write(session, " UNION ALL ".join(parts), plain, folder.path, bucketed=True))


def _kept(folder: Folder, files: Sequence[Written]) -> RowChanges:
    sides = {side: folder.keep((each for each in files if each.bucket == side), CHANGES) for side in (ENTERED, LEFT)}
    return RowChanges(sides[ENTERED], sides[LEFT])


def rewritten(
    session: Session, folder: Folder, target: WriteTarget, done: Staged, change: Rewrite, entered: str = ""
) -> Staged:
    """What was staged, with the files of a rewriting at their final place and its record."""
    changes = recorded(session, folder, target, change, entered)
    copies, own = folder.keep(change.files), folder.keep(change.own)
    changes = _with_copies(changes, copies if change.removed else ())
    return replace(done, add=(*done.add, *copies, *own), changes=changes, marked=change.marked)


def _with_copies(changes: RowChanges | None, copies: tuple[DataFile, ...]) -> RowChanges | None:
    """The record with the added files that hold copies, at their final place."""
    if changes is None:
        return None
    return RowChanges(changes.entered, changes.left, tuple(file.path for file in copies))
