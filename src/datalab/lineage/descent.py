"""From rows down to the records they came from: table by table, each at the snapshot that the commit recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from datalab.lake.provenance import Position
from datalab.lineage.events import judged
from datalab.lineage.flows import Flows, Way
from datalab.lineage.records import keys_of, position_of, values_of
from datalab.lineage.rows import PARENT, Search, Standing, Tables, links_of
from datalab.lineage.tree import Read, Row, Rows

_MOST_DEEP = 50


@dataclass(frozen=True)
class Descent:
    """Walks down the flows of a project. `limit` is how many rows are shown below a row; 0: all."""

    tables: Tables
    flows: Flows
    limit: int

    def rows(self, table: Standing, wanted: pa.Table) -> Rows:
        """The rows of a table whose columns equal one of the wanted rows, with all that is below them."""
        search = Search(links_of(wanted), wanted, (), self.flows.identity(table.state.name), self.limit)
        found = self.tables.find(table, search)
        return Rows(sum(found.totals.values()), self.below(table, found.rows.drop_columns([PARENT])))

    def below(self, table: Standing, rows: pa.Table, statuses: Sequence[str] = (), depth: int = 0) -> tuple[Row, ...]:
        """Rows that were read, each with the reads of the tables that its own was made from."""
        name = table.state.name
        reads = self._reads(table, rows, depth) if rows.num_rows and depth < _MOST_DEEP else []
        identity = self.flows.identity(name)
        return tuple(
            Row(
                str(name),
                table.snapshot,
                keys_of(record, identity),
                values_of(record),
                position_of(record),
                statuses[number] if statuses else "",
                _worth_showing([part[number] for part in reads]),
            )
            for number, record in enumerate(rows.to_pylist())
        )

    def _reads(self, table: Standing, rows: pa.Table, depth: int) -> list[list[Read]]:
        """For each way into the table: what it says of each row."""
        known = {node.flow.name: node for node in self.flows.into(table.state.name)}
        positions = self._positions(table)
        if known and not positions:
            note = (
                f"cannot be followed: no commit of {table.state.name} up to snapshot {table.snapshot} says what it read"
            )
            return [[Read("", None, flow, notes=(note,))] * rows.num_rows for flow in known]
        reads = [
            self._read(way, positions[flow], rows, depth)
            for flow, node in known.items()
            if flow in positions
            for way in self.flows.ways(node)
        ]
        lost = [[_unknown(flow, position)] * rows.num_rows for flow, position in positions.items() if flow not in known]
        return reads + (lost if known or not self.flows.position_columns(table.state.name) else [])

    def _positions(self, table: Standing) -> Mapping[str, Position]:
        """Where the flows into a table stood when a snapshot was committed."""
        if table.snapshot == table.state.snapshot:
            return table.state.positions
        positions: Mapping[str, Position] = {}
        for entry in self.tables.lake.history(table.state):
            positions = entry.provenance.positions if entry.provenance is not None else positions
            if entry.id == table.snapshot:
                return positions
        return {}

    def _read(self, way: Way, position: Position, rows: pa.Table, depth: int) -> list[Read]:
        """The rows of one input that belong to each of the rows."""
        source = self.tables.at(way.strand.table, position.inputs.get(str(way.strand.table)))
        changed = position.code != way.node.code and "the query has changed since: followed as it is now"
        notes = tuple(note for note in (source.note, changed, *way.strand.notes) if note)
        read = Read(str(way.strand.table), source.snapshot, way.flow, way.by, notes=notes)
        if way.reason:
            return [_range(read, way, source)] * rows.num_rows
        wanted = rows.select(list(dict.fromkeys(link.column for link in way.links)))
        order = self.flows.identity(way.strand.table)
        search = Search(way.links, wanted, way.strand.conditions, order, self.limit)
        found = self.tables.find(source, search)
        statuses = judged(self.tables, way, rows, found.rows)
        below = self.below(source, found.rows.drop_columns([PARENT]), statuses, depth + 1)
        shown: dict[int, list[Row]] = {}
        for parent, row in zip(found.rows.column(PARENT).to_pylist(), below, strict=True):
            shown.setdefault(parent, []).append(row)
        return [
            replace(read, total=found.totals.get(number, 0), rows=tuple(shown.get(number, ())))
            for number in range(rows.num_rows)
        ]


def _range(read: Read, way: Way, source: Standing) -> Read:
    """A read whose keys cannot be followed: why, and which rows it was."""
    held = f"{source.relation.rows:,} rows at snapshot {source.snapshot}"
    return replace(read, by={}, notes=(f"cannot be followed: {way.reason}; it read {held}", *read.notes))


def _unknown(flow: str, position: Position) -> Read:
    """What a flow made that is not in the project: the snapshots that it read."""
    read = ", ".join(f"{table} up to snapshot {snapshot}" for table, snapshot in position.inputs.items())
    note = f"cannot be followed: {flow} is not among the project's flows; it read {read or 'a source'}"
    return Read("", None, flow, notes=(note,))


def _worth_showing(reads: Sequence[Read]) -> tuple[Read, ...]:
    """Without the reads in which nothing was found, if there are others: the other branches of a union."""
    found = tuple(read for read in reads if read.total != 0)
    return found or tuple(reads)
