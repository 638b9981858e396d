"""The dialect's macros in a database: each is made when a query first calls it."""

from __future__ import annotations

import threading

import duckdb

from datalab.engine.dialect.macros import MACROS, called, with_needed


class Macros:
    """The macros of one database. Making all of them takes longer than most queries, which call few."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._made: set[str] = set()
        self._lock = threading.Lock()

    def require(self, sql: str) -> None:
        """Make the macros that a text calls."""
        missing = called(sql) - self._made
        if not missing:
            return
        with self._lock, self._database.cursor() as connection:
            for name in with_needed(missing):
                if name not in self._made:
                    connection.execute(MACROS[name])
                    self._made.add(name)
