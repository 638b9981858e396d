"""When a source record came, in the commits that it can have reached: what was made before it did not see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import pyarrow as pa

from datalab.lake.table import Snapshot
from datalab.lineage.rows import Search, Tables, links_of
from datalab.names import TableName
from datalab.pipelines.graph import Graph


@dataclass
class Arrival:
    """The coming of one record, whose place in the source is the only row of `place`, into the table `source`."""

    tables: Tables
    graph: Graph
    source: TableName
    place: pa.Table
    _histories: dict[TableName, Mapping[int, Snapshot]] = field(default_factory=dict)
    _told: dict[tuple[TableName, int], bool | None] = field(default_factory=dict)

    def seen_by(self, table: TableName, snapshot: int | None, at: datetime | None = None) -> bool | None:
        """Whether the record had come when a snapshot was made, by the inputs that its commit and theirs recorded.

        None: it cannot be told, because a history does not go back so far. What was used at a time `at` was there.
        """
        entry = self.history(table).get(snapshot) if snapshot is not None else None
        if entry is None:
            return False if at is not None and self.earliest is not None and at < self.earliest else None
        known = (table, entry.id)
        if known not in self._told:
            self._told[known] = self._judged(table, entry)
        return self._told[known]

    def history(self, table: TableName) -> Mapping[int, Snapshot]:
        """The snapshots of a table that are still known, by id."""
        if table not in self._histories:
            held = self.tables.lake.history(self.tables.state(table)) if self.tables.exists(table) else ()
            self._histories[table] = {entry.id: entry for entry in held}
        return self._histories[table]

    @property
    def earliest(self) -> datetime | None:
        """A time at which it had not come; None where no commit before it is known."""
        without, _ = self._borders
        return without.at if without is not None else None

    def _judged(self, table: TableName, entry: Snapshot) -> bool | None:
        if table == self.source:
            _, first = self._borders
            return first is not None and entry.sequence >= first.sequence
        positions = entry.provenance.positions.values() if entry.provenance is not None else ()
        read = {(TableName.parse(name), upto) for each in positions for name, upto in each.inputs.items()}
        if not read:
            return None
        return _any(self.seen_by(name, upto, entry.at) for name, upto in read if name in self._reachable)

    @cached_property
    def _reachable(self) -> frozenset[TableName]:
        """The tables that rows of the source can have gone into."""
        found, size = {self.source}, 0
        while len(found) > size:
            size = len(found)
            found |= {node.flow.target for node in self.graph.flows if any(part.table in found for part in node.inputs)}
        return frozenset(found)

    @cached_property
    def _borders(self) -> tuple[Snapshot | None, Snapshot | None]:
        """The last known snapshot of the source without the record, and the first one with it."""
        entries: Sequence[Snapshot] = sorted(self.history(self.source).values(), key=lambda entry: entry.sequence)
        low, high = 0, len(entries)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._holds(entries[middle]) else (middle + 1, high)
        return entries[low - 1] if low else None, entries[low] if low < len(entries) else None

    def _holds(self, entry: Snapshot) -> bool:
        search = Search(links_of(self.place), self.place, limit=1)
        return bool(self.tables.find(self.tables.at(self.source, entry.id), search).rows.num_rows)


def _any(answers: Iterable[bool | None]) -> bool | None:
    told = set(answers)
    return True if True in told else None if None in told else False
