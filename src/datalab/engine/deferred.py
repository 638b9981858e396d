"""An engine that is opened when it is first asked: what finds nothing to compute does not pay for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from datalab.engine.base import Engine, EngineCapabilities, Query, Staged, Work

if TYPE_CHECKING:
    import pyarrow as pa

    from datalab.lake.table import DataFile, Rewriting


class DeferredEngine:
    """The engine that `open_engine` answers; what is wrong with its settings is raised at the first use."""

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open = open_engine
        self._lock = threading.Lock()
        self._opened: Engine | None = None

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def capabilities(self) -> EngineCapabilities:
        """What the engine can do."""
        return self._engine.capabilities

    def schema(self, query: Query) -> pa.Schema:
        """The columns a query answers."""
        return self._engine.schema(query)

    def read(self, query: Query) -> pa.RecordBatchReader:
        """The rows of a query."""
        return self._engine.read(query)

    def stage(self, work: Work) -> Staged:
        """Write the rows of a query as data files that nobody sees yet."""
        return self._engine.stage(work)

    def rewrite(self, work: Rewriting) -> tuple[DataFile, ...]:
        """The same rows in new data files."""
        return self._engine.rewrite(work)

    def discard(self, staged: Staged) -> None:
        """Remove the files of a staging that will not be committed."""
        self._engine.discard(staged)

    def close(self) -> None:
        """Close the engine, if it was opened."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    @property
    def _engine(self) -> Engine:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened
