"""The files below a project that match a pattern, without those that are still being written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datalab.errors import SourceError
from datalab.ingest.sources.walking import ABSENT, matching

_UNFINISHED = (".tmp", ".part")
_FORMATS = {".avro": "avro", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_COMPRESSED = frozenset({"csv", "jsonl"})


@dataclass(frozen=True, order=True)
class Listed:
    """A file: its name relative to the project, in POSIX form, and what a look from outside tells."""

    name: str
    path: str
    size: int
    mtime_ns: int


def list_files(root: Path, pattern: str) -> tuple[Listed, ...]:
    """The pattern's files, sorted by name. SourceError where the pattern leads out of the project."""
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise SourceError(f"the pattern {pattern} leads out of the project", "write it relative to the project")
    found = (_listed(root, name) for name in matching(str(root), pattern) if _finished(name))
    return tuple(sorted(each for each in found if each is not None))


def _finished(name: str) -> bool:
    if name.endswith(_UNFINISHED):
        return False
    return not any(part.startswith((".", "_")) for part in name.split(os.sep))  # noqa: PTH206 - as above


def _listed(root: Path, name: str) -> Listed | None:
    path = f"{root}{os.sep}{name}"
    try:
        status = os.stat(path)  # noqa: PTH116 - ten thousand files in a fraction of a second
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    regular = (status.st_mode & 0o170000) == 0o100000
    return Listed(_as_text(name.replace(os.sep, "/")), path, status.st_size, status.st_mtime_ns) if regular else None


def _as_text(name: str) -> str:
    """A name whose bytes are not UTF-8 is told with escapes in their place: tables hold text."""
    return name if name.isascii() else os.fsencode(name).decode(errors="backslashreplace")


def format_of(name: str, setting: str | None) -> str | None:
    """The format by setting or suffix, with `.gz` where the file is compressed; None where it cannot be told."""
    stem, compressed = (name[:-3], True) if name.lower().endswith(".gz") else (name, False)
    kind = setting or _FORMATS.get(Path(stem).suffix.lower())
    if compressed and kind not in _COMPRESSED:
        return None
    return f"{kind}.gz" if compressed else kind
