"""Files as bytes: opened without a copy where they are large, and named by their size, time and content."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MAPPED = 64 << 20
_PIECE = 1 << 20


class Unstable(Exception):
    """A file changed while it was read: it is still being written."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def content_hash(data: memoryview) -> str:
    """16 hex characters that name a content."""
    return hashlib.sha256(data).hexdigest()[:16]


def version_of(status: os.stat_result, digest: str) -> str:
    """What a file was when it was read: size, modification time, content."""
    return f"{status.st_size}-{status.st_mtime_ns}-{digest}"


@contextmanager
def opened(path: str) -> Iterator[tuple[memoryview, str]]:
    """A file's bytes and version. Unstable where it changed meanwhile, at the latest when it is closed again."""
    with Path(path).open("rb") as file:
        before = os.fstat(file.fileno())
        if before.st_size >= _MAPPED:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # unmapped with its last view
            yield mapped, version_of(before, content_hash(mapped))
            _require_same(path, before)
            return
        data = memoryview(file.read())
    _require_same(path, before)
    yield data, version_of(before, content_hash(data))


def has_size(path: str, size: int) -> bool:
    """Whether a file is there and has so many bytes."""
    with suppress(OSError):
        return Path(path).stat().st_size == size
    return False


def can_be_read(path: str) -> bool:
    """Whether the disk gives all bytes of a file."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            while file.read(_PIECE):
                pass
    except OSError:
        return False
    return True


def _require_same(path: str, before: os.stat_result) -> None:
    try:
        after = Path(path).stat()
    except FileNotFoundError as error:
        raise Unstable(path) from error
    if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        raise Unstable(path)
