"""One version of a Delta table, and delta-rs's object for it, which goes on to the next version with a commit.

To follow one commit costs a third of opening a version. What others still ask of the version before is read anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError


class Handle:
    """A version of the table in the folder `place`; it never becomes another one. Thread-safe."""

    def __init__(self, place: str, table: DeltaTable) -> None:
        self._place = place
        self._version = table.version()
        self._table: DeltaTable | None = table
        self._lock = threading.Lock()

    def version(self) -> int:
        """The version."""
        return self._version

    @contextmanager
    def table(self) -> Iterator[DeltaTable]:
        """A block with delta-rs's object at this version, for nobody else meanwhile. DeltaError where it is gone."""
        with self._lock:
            if self._table is None:
                self._table = DeltaTable(self._place, version=self._version)
            yield self._table

    def handed_on(self, version: int) -> DeltaTable:
        """The object at a later version, which it is taken on to; this version has none any more."""
        with self._lock:
            table, self._table = self._table, None
        if table is not None:
            try:
                table.update_incremental()
                if table.version() == version:
                    return table
            except DeltaError:  # a new object reads the log from its last checkpoint on
                pass
        return DeltaTable(self._place, version=version)
