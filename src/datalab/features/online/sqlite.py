"""The online store in one SQLite file, for one machine.

The rollback journal is used and not the write-ahead log, which versions before 3.51.3 can corrupt. A reader never
waits for a whole materialization: writers take the lock first and hold it for one small batch.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalab.errors import OnlineStoreError
from datalab.features.online.base import (
    Claim,
    Entry,
    Layout,
    Lookup,
    More,
    OnlineCapabilities,
    Position,
    Stored,
    Version,
)
from datalab.features.online.encoding import (
    encoded,
    entity_of,
    key_of,
    keys,
    layout_to_text,
    number_of,
    position_of_record,
    position_to_record,
)
from datalab.features.online.positions import begun, finished, require_current
from datalab.features.online.reading import Reader

if TYPE_CHECKING:
    import pyarrow as pa

_TABLES = """
CREATE TABLE IF NOT EXISTS views (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, position TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS layouts (
  view INTEGER NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (view, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS features (
  view INTEGER NOT NULL, entity TEXT NOT NULL, version INTEGER NOT NULL, snapshot INTEGER NOT NULL,
  timestamp INTEGER NOT NULL, layout INTEGER NOT NULL, content TEXT, PRIMARY KEY (view, entity)
) WITHOUT ROWID;
"""
_UPSERT = (
    "INSERT INTO features VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (view, entity) DO UPDATE SET "
    "version = excluded.version, snapshot = excluded.snapshot, timestamp = excluded.timestamp, "
    "layout = excluded.layout, content = excluded.content WHERE excluded.version >= features.version"
)
_ROW = "f.snapshot, f.timestamp, f.layout, f.content"
_MOST_LOOKUPS = 5_000
_BATCH = 10_000
_WRITER_PATIENCE = 30.0
_PAUSE = 0.0005
_LOOK_SECONDS = 1.0


class SqliteStore:
    """Features in a file. `timeout` in seconds is how long a read waits for a writer's commit."""

    name = "sqlite"
    capabilities = OnlineCapabilities(shared=False)

    def __init__(self, path: Path, timeout: float = 0.05) -> None:
        self._path = path
        self._timeout = timeout
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._ids: dict[str, int] = {}
        self._readers: dict[str, Reader] = {}
        self._file: tuple[int, int] | None = None
        self._look_at = 0.0

    def read(self, wanted: Sequence[Lookup], now: datetime, more: More | None = None) -> list[Stored | None]:
        """One answer per lookup, in order, from one state of the file."""
        if time.monotonic() >= self._look_at:
            self._look()
        try:
            connection = self._connection("lookups")
            if more is None:
                return self._found(connection, wanted, now)
            return self._found_at_once(connection, wanted, now, more)
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    def _look(self) -> None:
        """Another file may have come in place of the one that is open: that one is read from now on."""
        self._look_at = time.monotonic() + _LOOK_SECONDS
        found = _identity(self._path)
        if found is None or self._file is None or found == self._file:
            return  # gone, with nothing in its place yet: what is open is as good as can be
        self._local = threading.local()  # what is open in threads is closed with the store
        self._ids, self._readers, self._file = {}, {}, found

    def position(self, view: str) -> Position:
        """How far a view is."""
        with self._errors():
            return _position(self._connection("reader"), view)

    def begin(self, view: str, layout: Layout, version: Version, *, anew: bool = False) -> Claim:
        """Announce a version and the layout of its rows."""
        with self._transaction() as connection:
            if anew:
                connection.execute("DELETE FROM features WHERE view = ?", (self._id(connection, view),))
                _set_position(connection, view, Position())
            before = _position(connection, view)
            _set_position(connection, view, begun(before, version))
            number = _layout_number(connection, self._id(connection, view), layout_to_text(layout))
        return Claim(view, version, layout, number, before)

    def write(self, claim: Claim, rows: pa.Table, gone: pa.Table | None = None) -> int:
        """Set rows and forget entities, in small transactions; sorted by key, each touches few pages."""
        order, snapshot = claim.version.order, claim.version.snapshot
        view = self._ids[claim.view]
        records: list[tuple[int, str, int, int, int, int, str | None]] = [
            (view, key, order, snapshot, moment, claim.number, content)
            for key, moment, content in encoded(rows, claim.layout)
        ]
        if gone is not None:
            records += [(view, key, order, snapshot, 0, claim.number, None) for key in keys(gone, claim.layout)]
        records.sort(key=itemgetter(1))
        return sum(self._set(claim, records[start : start + _BATCH]) for start in range(0, len(records), _BATCH))

    def finish(self, claim: Claim, *, whole: bool) -> None:
        """The version is whole; what it made void goes."""
        view, order = self._ids[claim.view], claim.version.order
        older = "version < ? OR (version = ? AND content IS NULL)" if whole else "version <= ? AND content IS NULL"
        with self._transaction() as connection:
            after = finished(_position(connection, claim.view), claim.version, claim.layout)
            arguments = (view, order, order) if whole else (view, order)
            connection.execute(f"DELETE FROM features WHERE view = ? AND ({older})", arguments)
            _set_position(connection, claim.view, after)

    def entries(self, view: str, limit: int) -> list[Entry]:
        """A random sample of a view's rows."""
        sql = (
            f"SELECT f.entity, f.version, {_ROW} FROM views JOIN features f ON f.view = views.id "
            "WHERE views.name = ? ORDER BY random() LIMIT ?"
        )
        with self._errors():
            rows = self._connection("reader").execute(sql, (view, limit)).fetchall()
            reader = self._reader(view)
            return [Entry(entity_of(key), order, reader.stored((*row,), None)) for key, order, *row in rows]

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._local = threading.local()

    def _set(self, claim: Claim, records: Sequence[tuple[Any, ...]]) -> int:
        with self._transaction() as connection:
            require_current(_position(connection, claim.view), claim.version)
            before = connection.total_changes
            connection.executemany(_UPSERT, records)
            return connection.total_changes - before

    def _patiently(self, connection: sqlite3.Connection, wanted: Sequence[Lookup]) -> list[tuple[Any, ...]]:
        """Read again while a writer commits: it takes milliseconds, SQLite's own waiting takes ever longer steps."""
        until = 0.0
        while True:
            try:
                return self._rows(connection, wanted)
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                until = until or now + self._timeout
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or now >= until:
                    raise
                time.sleep(_PAUSE)

    def _found_at_once(
        self, connection: sqlite3.Connection, wanted: Sequence[Lookup], now: datetime, more: More
    ) -> list[Stored | None]:
        """All within one transaction: to lock the file costs more than to look something up."""
        connection.execute("BEGIN")
        try:
            found = self._found(connection, wanted, now)
            while further := more(found):
                found += self._found(connection, further, now)
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")
        return found

    def _found(self, connection: sqlite3.Connection, wanted: Sequence[Lookup], now: datetime) -> list[Stored | None]:
        found: list[Stored | None] = [None] * len(wanted)
        readers = self._readers
        for row in self._patiently(connection, wanted):
            view = wanted[row[0]].view
            found[row[0]] = (readers.get(view) or self._reader(view)).stored(row[1:], now)
        return found

    def _rows(self, connection: sqlite3.Connection, wanted: Sequence[Lookup]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        ids = self._ids
        for start in range(0, len(wanted), _MOST_LOOKUPS):
            part = wanted[start : start + _MOST_LOOKUPS]
            arguments: list[int | str] = []
            for place, (view, entity) in enumerate(part, start):
                number = ids.get(view)
                arguments += (place, self._id(connection, view) if number is None else number, key_of(entity))
            rows += connection.execute(_question(len(part)), arguments).fetchall()
        return rows

    def _id(self, connection: sqlite3.Connection, view: str) -> int:
        """The number of a view; -1, not remembered, where nothing was written of it."""
        if view not in self._ids:
            found = connection.execute("SELECT id FROM views WHERE name = ?", (view,)).fetchone()
            if found is None:
                return -1
            self._ids[view] = found[0]
        return self._ids[view]

    def _reader(self, view: str) -> Reader:
        if view not in self._readers:
            self._readers[view] = Reader(view, lambda number: self._layout(view, number))
        return self._readers[view]

    def _layout(self, view: str, number: int) -> str | None:
        connection = self._connection("reader")
        sql = "SELECT content FROM layouts WHERE view = ? AND number = ?"
        found = connection.execute(sql, (self._id(connection, view), number)).fetchone()
        return found[0] if found else None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A block that holds the file's only write lock from its beginning."""
        with self._errors():
            connection = self._connection("writer")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _connection(self, use: str) -> sqlite3.Connection:
        """This thread's connection for writing, for lookups, or, as reader, for the rest."""
        connection: sqlite3.Connection | None = getattr(self._local, use, None)
        if connection is None:
            connection = _connect(self._path, _WRITER_PATIENCE if use == "writer" else self._timeout)
            if use == "lookups":
                connection.execute("PRAGMA busy_timeout = 0")  # see _patiently
            setattr(self._local, use, connection)
            self._file = self._file or _identity(self._path)
            with self._lock:
                self._opened.append(connection)
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error
        except (ValueError, LookupError, TypeError) as error:
            raise OnlineStoreError(
                f"the online store {self._path.name} holds something that this program did not write",
                "datalab features materialize --rebuild",
            ) from error

    def _error(self, error: Exception) -> OnlineStoreError:
        return OnlineStoreError(
            f"the online store {self._path.name} cannot be used: {error}",
            "a writer that holds it too long, a full disk or a damaged file: it can be deleted and filled anew",
        )


@lru_cache(256)
def _question(lookups: int) -> str:
    values = ",".join(["(?,?,?)"] * lookups)
    return (
        f"WITH w(place, view, entity) AS (VALUES {values}) "
        f"SELECT w.place, {_ROW} FROM w CROSS JOIN features f ON f.view = w.view AND f.entity = w.entity"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_spill = OFF")
    if connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'features'").fetchone() == (0,):
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
    return connection


def _position(connection: sqlite3.Connection, view: str) -> Position:
    found = connection.execute("SELECT position FROM views WHERE name = ?", (view,)).fetchone()
    return position_of_record(json.loads(found[0])) if found else Position()


def _set_position(connection: sqlite3.Connection, view: str, position: Position) -> None:
    known: Mapping[str, int] = dict(connection.execute("SELECT name, id FROM views").fetchall())
    connection.execute(
        "INSERT INTO views VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        (known.get(view) or number_of(view, known), view, json.dumps(position_to_record(position))),
    )


def _layout_number(connection: sqlite3.Connection, view: int, content: str) -> int:
    """The number of a layout within its view, given at its first use."""
    known: Mapping[str, int] = dict(
        connection.execute("SELECT content, number FROM layouts WHERE view = ?", (view,)).fetchall()
    )
    if content in known:
        return known[content]
    number = number_of(content, known)
    connection.execute("INSERT INTO layouts VALUES (?, ?, ?)", (view, number, content))
    return number
