"""The lake: tables by name, in whatever format holds each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

from datalab.errors import LakeError, SchemaConflict, TableNotFound
from datalab.events import Bus
from datalab.lake.commit import commit, commit_rebased
from datalab.lake.formats.base import Format
from datalab.lake.formats.traces import (
    delta_remains,
    delta_tables,
    has_catalog,
    has_delta_table,
    iceberg_remains,
)
from datalab.lake.read import rows_added, rows_changed_between, snapshot_at, tagged
from datalab.lake.schema import extend, normalise
from datalab.lake.table import Change, Difference, Relation, Snapshot, TableSpec, TableState
from datalab.lake.turn import turn
from datalab.lake.whole import readable
from datalab.names import TableName
from datalab.plugins import Adapter, adapter

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {
    "iceberg": Adapter("datalab.lake.formats.iceberg:open_format"),
    "delta": Adapter("datalab.lake.formats.delta:open_format", "delta"),
}


@dataclass(frozen=True)
class Source:
    """A format to open when needed; `holds` tells, without opening it, whether a table (any, for None) may be in it.

    `remains` is the folder where files of a table are that is not there any more, empty where none are.
    """

    open: Callable[[], Format]
    holds: Callable[[TableName | None], bool]
    remains: Callable[[TableName], str] = lambda _: ""


class Lake:
    """The tables of a project. Thread-safe; a format's library is loaded when one of its tables is touched."""

    def __init__(self, sources: Mapping[str, Source], default: str, bus: Bus | None = None) -> None:
        self._sources = sources
        self._default = default
        self._bus = bus
        self._opened: dict[str, Format] = {}
        self._lock = threading.Lock()

    def names(self) -> tuple[TableName, ...]:
        """All tables, sorted."""
        return tuple(sorted({table for name in self._holding(None) for table in self.format(name).names()}))

    def state(self, name: TableName) -> TableState | None:
        """The newest state of a table, None where there is none. LakeError where only its files are left."""
        with readable(name):
            found = self._found(name)
            remains = "" if found is not None else self._remains(name)
            if remains and (found := self._found(name)) is None:  # it was not made just now
                raise LakeError(
                    f"{name}: there is no such table, and {remains} holds the files of one",
                    "restore the catalog, or the table's log, from a backup; to begin anew, with every source from "
                    "its first record, move the folder away",
                )
            return found

    def require(self, name: TableName) -> TableState:
        """The newest state of a table that must be there. TableNotFound, with the names nearest to it."""
        state = self.state(name)
        if state is None:
            near = get_close_matches(str(name), [str(known) for known in self.names()])
            hint = f"did you mean {', '.join(near)}?" if near else "datalab data list shows the tables that exist"
            raise TableNotFound(f"there is no table {name}", hint)
        return state

    def define(
        self, name: TableName, spec: TableSpec, format_name: str = "", *, keep_missing: bool = False
    ) -> TableState:
        """Create a table (in a format, or the default one), or bring an existing one to `spec`.

        SchemaConflict, before anything is written, where the present schema cannot grow into the wanted one.
        """
        with readable(name):
            state = self._found(name)
        _check(name, spec, state, format_name)
        holder = state.format if state is not None else format_name or self._default
        schema = _grown(name, state, spec, keep_missing) if state is not None else normalise(spec.schema)
        return self.format(holder).define(name, replace(spec, schema=schema))

    def reshape(self, state: TableState, schema: pa.Schema) -> TableState:
        """The state with other columns, for a commit that replaces all rows. SchemaConflict for partition columns."""
        return self.format(state.format).reshape(state, normalise(schema))

    def files(self, state: TableState, snapshot: int | None = None) -> Relation:
        """The live data at a snapshot; by default at the state's own."""
        with readable(state.name):
            return self.format(state.format).files(state, snapshot)

    def added(self, state: TableState, since: int | None, until: int) -> Relation:
        """The rows that appends brought after `since`, up to `until`. NotAppendOnly where rows changed in between."""
        with readable(state.name):
            return rows_added(self.format(state.format), state, since, until)

    def changed(self, state: TableState, since: int | None, until: int) -> Difference:
        """The rows that came and went between two snapshots, those that were only copied perhaps on both sides."""
        with readable(state.name):
            return rows_changed_between(self.format(state.format), state, since, until)

    def history(self, state: TableState) -> tuple[Snapshot, ...]:
        """The snapshots that still exist, oldest first."""
        with readable(state.name):
            return self.format(state.format).history(state)

    def at(self, state: TableState, when: datetime | int | str) -> int:
        """The snapshot that was current at a time, or the given id, or that of a tag. SnapshotNotFound."""
        if isinstance(when, str):
            return tagged(state, self.tags(state), when)
        return snapshot_at(state, self.history(state), when)

    def tags(self, state: TableState) -> Mapping[str, int]:
        """The snapshots that have a name, by name."""
        with readable(state.name):
            return self.format(state.format).upkeep.tags(state)

    def commit(self, state: TableState, change: Change) -> TableState:
        """Commit against exactly this state: see lake/commit.py for the outcomes."""
        return commit(self.format(state.format), state, change, self._bus)

    def turn(self, state: TableState) -> AbstractContextManager[bool]:
        """A block in which no other writer of this machine commits to a table: see lake/turn.py."""
        return turn(state.location)

    def commit_rebased(self, name: TableName, make_change: Callable[[TableState], Change | None]) -> TableState:
        """Commit to a table that many writers append to; the change is made anew where another came first."""
        return commit_rebased(self.format(self.require(name).format), name, make_change, self._bus)

    def format(self, name: str) -> Format:
        """A format by name, opened at its first use. NotSupported, MissingExtra."""
        with self._lock:
            if name not in self._opened:
                source = self._sources.get(name)
                self._opened[name] = source.open() if source else adapter("table format", name, {})
            return self._opened[name]

    def _found(self, name: TableName) -> TableState | None:
        found = (self.format(holder).load(name) for holder in self._holding(name))
        return next((state for state in found if state is not None), None)

    def _remains(self, name: TableName) -> str:
        return next(filter(None, (source.remains(name) for source in self._sources.values())), "")

    def _holding(self, name: TableName | None) -> list[str]:
        order = sorted(self._sources, key=lambda source: source != self._default)
        return [source for source in order if self._sources[source].holds(name)]


def open_lake(
    default_format: str, warehouse: str, catalog: Mapping[str, str] | None = None, bus: Bus | None = None
) -> Lake:
    """The lake of a warehouse: a folder, or a URI. `catalog` configures PyIceberg's catalog; empty: SQLite inside."""
    settings = dict(catalog or {})

    def opening(name: str) -> Callable[[], Format]:
        return lambda: adapter("table format", name, FORMATS)(warehouse, settings)

    sources = {
        "iceberg": Source(
            opening("iceberg"),
            lambda _: bool(settings) or has_catalog(warehouse),
            lambda name: "" if settings else iceberg_remains(warehouse, name),
        ),
        "delta": Source(
            opening("delta"),
            lambda name: has_delta_table(warehouse, name) if name else bool(delta_tables(warehouse)),
            lambda name: delta_remains(warehouse, name),
        ),
    }
    return Lake(sources, default_format, bus)


def _check(name: TableName, spec: TableSpec, state: TableState | None, wanted: str) -> None:
    if state is not None and wanted and wanted != state.format:
        raise LakeError(
            f"{name} is kept as {state.format}, not {wanted}", f"declare it USING {state.format}, or rename it"
        )
    missing = [field.column for field in spec.partition if field.column not in spec.schema.names]
    if missing:
        raise SchemaConflict(f"{name} is partitioned by {missing[0]}, which is not among its columns")


def _grown(name: TableName, state: TableState, spec: TableSpec, keep_missing: bool) -> pa.Schema:
    try:
        return extend(state.schema, spec.schema, keep_missing=keep_missing)
    except SchemaConflict as conflict:
        raise SchemaConflict(f"{name}: {conflict.message}", conflict.hint) from conflict
