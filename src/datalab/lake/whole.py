"""Whether the files of tables are as they were written, as far as their names and sizes tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from datalab.errors import DataLabError, LakeError
from datalab.lake.formats.base import Overtaken
from datalab.lake.local import local_path
from datalab.lake.table import DataFile
from datalab.names import TableName

RESTORE_HINT = "restore it from a backup; what a flow made can be computed anew: datalab run TABLE --full-refresh"

_BACKUP = "restore the table's folder from a backup"


def require_whole(files: Iterable[DataFile]) -> None:
    """LakeError for a file on the local disk that is gone, or has another size than it was written with.

    A file of another table or a cut one would be read like the right one, or half.
    """
    for file in files:
        _require(file.path, file.size)
        for marks in (*file.gone, *file.only):
            _require(marks.path, marks.size)


def is_whole(file: DataFile) -> bool:
    """Whether a file is there, in the size that it was written with."""
    try:
        require_whole((file,))
    except LakeError:
        return False
    return True


def _require(location: str, size: int) -> None:
    path = local_path(location)
    if path is None:
        return
    try:
        found = path.stat().st_size
    except FileNotFoundError as error:
        raise LakeError(f"the data file {path} is gone", RESTORE_HINT) from error
    if size and found != size:
        raise LakeError(f"the data file {path} is damaged: it has {found:,} bytes, not {size:,}", RESTORE_HINT)


@contextmanager
def readable(name: TableName) -> Iterator[None]:
    """A block that reads what a table says of itself: LakeError where a file of that is gone or damaged."""
    try:
        yield
    except (DataLabError, Overtaken, MemoryError):
        raise
    except FileNotFoundError as error:
        raise LakeError(f"{name}: {error.filename or error} is gone", _BACKUP) from error
    except Exception as error:
        raise LakeError(f"{name}: what it says of itself cannot be read: {_said(error)}", _BACKUP) from error


@contextmanager
def undamaged(location: str) -> Iterator[None]:
    """A block that reads one file of metadata: LakeError that names it where it is damaged."""
    try:
        yield
    except (DataLabError, OSError, MemoryError):
        raise
    except Exception as error:
        raise LakeError(f"{location} is damaged: {_said(error)}", _BACKUP) from error


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
