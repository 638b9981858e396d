"""Files on the local disk: from locations to paths, and written so that they survive a power failure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
