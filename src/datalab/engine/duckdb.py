"""The DuckDB engine: one database in memory for the process, a connection of its own for every call."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from datalab.engine.base import EngineCapabilities, History, Query, ReplaceGroups, Staged, Upsert, Work
from datalab.engine.compacting import rewritten
from datalab.engine.faults import translated
from datalab.engine.history import keep_history
from datalab.engine.macros import Macros
from datalab.engine.merging import replace_groups, upsert
from datalab.engine.ranges import MAX_RANGES
from datalab.engine.results import result_schema, results
from datalab.engine.scratch import Scratch
from datalab.engine.session import Session, empty
from datalab.engine.staging import write_all
from datalab.engine.writing import Folder, remove

if TYPE_CHECKING:
    import pyarrow as pa

    from datalab.lake.table import DataFile, Rewriting

_SETTINGS = (
    "SET GLOBAL TimeZone = 'UTC'",
    "SET GLOBAL preserve_insertion_order = false",
    f"SET GLOBAL partitioned_write_max_open_files = {4 * MAX_RANGES}",
)


class DuckDBEngine:
    """Runs Spark-dialect queries in this process. Spills to `temp_directory`; a temporary folder if None."""

    name = "duckdb"
    capabilities = EngineCapabilities(stages_files=True)

    def __init__(
        self, memory_limit: str = "2GB", threads: int | None = None, temp_directory: str | Path | None = None
    ) -> None:
        with translated(str(temp_directory or "")):
            scratch = Scratch(temp_directory)
        self._scratch = scratch.path
        self._database = _database(self._scratch, memory_limit, threads)
        self._macros = Macros(self._database)
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._release = weakref.finalize(self, _release, self._sessions, self._database, scratch)

    def schema(self, query: Query) -> pa.Schema:
        """The columns a query answers, without reading any data."""
        with self._session(query.origin) as session:
            return result_schema(session, query, *session.bind(empty(query)))

    def read(self, query: Query) -> pa.RecordBatchReader:
        """The rows of a query, computed as they are fetched."""
        session = self._session(query.origin)
        try:
            return results(session, query, *session.bind(query))
        except BaseException:
            session.close()
            raise

    def stage(self, work: Work) -> Staged:
        """Write the rows of a query as data files of a table that nobody sees yet."""
        with self._session(work.query.origin) as session, Folder(work.target.location) as folder:
            match work.mode:
                case Upsert():
                    return upsert(session, folder, work, work.mode)
                case History():
                    return keep_history(session, folder, work, work.mode)
                case ReplaceGroups():
                    return replace_groups(session, folder, work, work.mode)
                case _:
                    return write_all(session, folder, work)

    def rewrite(self, work: Rewriting) -> tuple[DataFile, ...]:
        """The same rows in new data files, in order."""
        with self._session(str(work.target.name)) as session, Folder(work.target.location) as folder:
            return folder.keep(rewritten(session, work, folder.path))

    def discard(self, staged: Staged) -> None:
        """Remove the files of a staging that will not be committed, rejected rows included; never raises."""
        rejected = staged.rejected.files if staged.rejected else ()
        beside = (*staged.beside, *(staged.changes.files if staged.changes else ()))
        marks = (each.path for marking in staged.marked for each in marking.fresh)
        remove((*(file.path for file in (*staged.add, *rejected, *beside)), *marks))

    def close(self) -> None:
        """Close the database and remove its temporary files."""
        self._release()

    def _session(self, origin: str) -> Session:
        with translated(origin):
            again = partial(self._session, origin)
            session = Session(self._database.cursor(), self._macros, self._scratch, again, origin)
        self._sessions.add(session)
        return session


def _database(scratch: Path, memory_limit: str, threads: int | None) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "temp_directory": str(scratch / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads is not None:
        config["threads"] = threads
    with translated(""):
        database = duckdb.connect(":memory:", config=config)
        for statement in _SETTINGS:
            database.execute(statement)
        return database


def _release(sessions: weakref.WeakSet[Session], database: duckdb.DuckDBPyConnection, scratch: Scratch) -> None:
    """A connection still open when the interpreter ends can abort the process: all are closed here, also at exit."""
    for session in list(sessions):
        session.close()
    database.close()
    scratch.close()
