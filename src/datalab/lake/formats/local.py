"""Files on the local disk: from locations to paths, and written so that they survive a power failure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(location: str) -> Path | None:
    """The path of a location, or None where it is not on this disk. `file:` URIs are percent-encoded, paths are not."""
    if "://" not in location and not location.startswith("file:"):
        return Path(location)
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def flush(locations: Iterable[str]) -> None:
    """Force files on the local disk, and the folders that name them, out of the caches; others are left alone."""
    paths = [path for location in locations if (path := local_path(location)) is not None]
    for path in [*paths, *{path.parent for path in paths}]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
