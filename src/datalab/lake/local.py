"""Files and folders on the local disk: from locations to paths, locks, and writes that survive a power failure."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from datalab.lake.formats.upkeep import File


def local_path(location: str) -> Path | None:
    """The path of a location, or None where it is not on this disk. `file:` URIs are percent-encoded, paths are not."""
    if "://" not in location and not location.startswith("file:"):
        return Path(location)
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def files_below(folder: Path) -> Iterator[File]:
    """Every file below a folder; one that goes while it is looked at is left out."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 - a walk answers texts
            try:
                status = os.stat(path)  # noqa: PTH116
            except FileNotFoundError:
                continue
            yield File(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def flush(locations: Iterable[str]) -> None:
    """Force files on the local disk, and the folders that name them, out of the caches; others are left alone."""
    paths = [path for location in locations if (path := local_path(location)) is not None]
    for path in [*paths, *{path.parent for path in paths}]:
        sync(path)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Put a file of this text, readable by its owner alone, in the place of what is there, whole or not at all."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with open(draft, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        flush([str(draft)])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def taken(descriptor: int, patience: float, pause: float) -> bool:
    """Whether the lock of an open file or folder was got within `patience` seconds. OSError where there are no locks.

    It is asked for again after pauses of up to `pause` seconds. The lock of a folder leaves no file behind, and any
    goes with its process.
    """
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter is no secret
        else:
            return True
