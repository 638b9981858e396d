"""Types that checking a graph found, kept for the next command: a cache, not believed where there is any doubt."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from datalab import __version__
from datalab.lake.local import write_private
from datalab.names import TableName

Types = Mapping[TableName, pa.Schema]

_LIBRARIES = ("duckdb", "pyarrow", "sqlglot")
_PACKAGE = Path(__file__).parents[1]
_CHECKING = ("engine", "pipelines", "lake")
_LARGEST = 16 << 20


def remembered(path: Path, key: str, tables: Collection[TableName], check: Callable[[], Types]) -> Types:
    """The schemas of `tables`: from the file if it has them under this key, else from `check`, kept for the next time.

    A file that is missing, damaged, of other tables, or that another user could have written counts as none.
    """
    known = _read(path, key)
    if known is not None and known.keys() == set(tables):
        return known
    types = check()
    with suppress(OSError):
        _write(path, key, types)
    return types


def checking_code() -> dict[str, object]:
    """What checks types in this installation: the versions, and DataLab's own files as they are, edited or not."""
    files = sorted(path for folder in _CHECKING for path in (_PACKAGE / folder).rglob("*.py"))
    stamps = [(path.name, found.st_size, found.st_mtime_ns) for path in files for found in [path.stat()]]
    versions = {library: version(library) for library in _LIBRARIES}
    return {"datalab": __version__, "python": sys.version, "files": stamps, **versions}


def _read(path: Path, key: str) -> dict[TableName, pa.Schema] | None:
    try:
        content = json.loads(_own_bytes(path))
        tables = content["tables"]
        if content["key"] != key or content["digest"] != _digest(key, tables):
            return None
        return {TableName.parse(name): _schema(text) for name, text in tables.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, pa.ArrowException):
        return None


def _own_bytes(path: Path) -> bytes:
    """The content of a regular file that only its owner, this user, can write. OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        foreign = found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if foreign or not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise ValueError(path)
        return file.read(_LARGEST)


def _write(path: Path, key: str, types: Types) -> None:
    tables = {str(name): base64.b64encode(schema.serialize()).decode() for name, schema in types.items()}
    content = json.dumps({"key": key, "digest": _digest(key, tables), "tables": tables})
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, content)


def _digest(key: str, tables: Mapping[str, str]) -> str:
    return sha256(json.dumps([key, tables], sort_keys=True).encode()).hexdigest()


def _schema(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
