"""Folders for what an engine spills: each is locked by its process, so that those of dead processes can be told."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "datalab-"
_LOCK = "lock"
_YOUNG = 60.0  # seconds in which a folder may not have its lock yet


class Scratch:
    """A new folder below `parent` (the system's, for None); it goes when it is closed, the lock with the process."""

    def __init__(self, parent: str | Path | None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._descriptor = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the folder and what is in it."""
        if self._descriptor >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._descriptor)
            self._descriptor = -1


def abandoned(parent: Path) -> tuple[Path, ...]:
    """The folders below `parent` whose process is gone."""
    places = sorted(parent.glob(f"{_PREFIX}*")) if parent.is_dir() else []
    return tuple(place for place in places if _is_abandoned(place))


def _is_abandoned(place: Path) -> bool:
    try:
        descriptor = os.open(place / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return place.is_dir() and time.time() - place.stat().st_mtime > _YOUNG
    except NotADirectoryError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
