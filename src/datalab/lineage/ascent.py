"""From records up to everything that they reached: the rows of later tables, or why they went no further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from sqlglot import exp

from datalab.lineage.arrival import Arrival
from datalab.lineage.events import checks_of, is_kept, judged, refused
from datalab.lineage.flows import Flows, Way, shown
from datalab.lineage.records import keys_of, position_of, values_of
from datalab.lineage.rows import PARENT, Found, Link, Search, Standing, Tables, links_of
from datalab.lineage.tree import Read, Row
from datalab.lineage.uses import Use, Users
from datalab.names import TableName
from datalab.pipelines.cdc import DELETED

_LINK, _PASSES = "__link_", "__passes_"
_MOST_HIGH = 50


@dataclass(frozen=True)
class Ascent:
    """Walks up the flows of a project, each table as it is now. `limit` rows are shown above a row; 0: all.

    `uses`: what is made of tables beside flows; `arrival`: of it only what was made after the record had come.
    """

    tables: Tables
    flows: Flows
    limit: int
    uses: Mapping[TableName, tuple[Use, ...]] = field(default_factory=dict)
    arrival: Arrival | None = None

    def above(self, table: Standing, rows: pa.Table, statuses: Sequence[str] = (), height: int = 0) -> tuple[Row, ...]:
        """Rows that were read, each with the rows of later tables that it had a part in."""
        identity = self.flows.identity(table.state.name)
        live = [not statuses or is_kept(statuses[number]) for number in range(rows.num_rows)]
        reads = self._reads(table, rows, height) if any(live) and height < _MOST_HIGH else []
        return tuple(
            Row(
                str(table.state.name),
                table.snapshot,
                keys_of(record, identity),
                values_of(record),
                position_of(record),
                statuses[number] if statuses else "",
                tuple(part[number] for part in reads) if live[number] else (),
            )
            for number, record in enumerate(rows.to_pylist())
        )

    def _reads(self, table: Standing, rows: pa.Table, height: int) -> list[list[Read]]:
        name = table.state.name
        made, not_made = self.flows.out_of(name)
        ways = [way for node in made for way in self.flows.ways(node) if way.strand.table == name]
        waiting = [Read(str(node.flow.target), None, node.flow.name, notes=("not made yet",)) for node in not_made]
        reads = [self._read(way, table, rows, height) for way in ways]
        users = Users(self.tables, self.arrival, self.limit)
        used = [users.reads(use, name, rows) for use in self.uses.get(name, ())]
        return [*reads, *([each] * rows.num_rows for each in waiting), *filter(None, used)]

    def _read(self, way: Way, table: Standing, rows: pa.Table, height: int) -> list[Read]:
        """The rows of a target that each of the rows had a part in."""
        target = self.tables.at(way.node.flow.target, None)
        read = Read(str(target.state.name), target.snapshot, way.flow, way.by, notes=way.strand.notes)
        if way.reason:
            return [replace(read, by={}, notes=(f"cannot be followed: {way.reason}", *read.notes))] * rows.num_rows
        computed = self.tables.compute(rows, _expressions(way))
        why = [_held_up(event) for event in computed.to_pylist()]
        found = self._find(way, target, computed.filter(pa.array([not each for each in why], pa.bool_())))
        passed = [number for number, each in enumerate(why) if not each]
        parents = pa.array((passed[number] for number in found.rows.column(PARENT).to_pylist()), pa.int64())
        known = self._known(way, rows, target, found.rows.drop_columns([PARENT]), parents, height)
        for number in passed:
            if number not in known:
                why[number] = self._missing(way, table)
        counts = {passed[number]: total for number, total in found.totals.items()}
        return [
            replace(
                read,
                total=counts.get(number, 0),
                rows=tuple(known.get(number, ())),
                notes=((each, *read.notes) if each else read.notes),
            )
            for number, each in enumerate(why)
        ]

    def _find(self, way: Way, target: Standing, computed: pa.Table) -> Found:
        wanted = computed.select([f"{_LINK}{link.column}" for link in way.links])
        wanted = wanted.rename_columns([link.column for link in way.links])
        order = self.flows.identity(target.state.name)
        return self.tables.find(target, Search(_links(way, wanted), wanted, (), order, self.limit))

    def _known(
        self, way: Way, rows: pa.Table, target: Standing, found: pa.Table, parents: pa.Array, height: int
    ) -> Mapping[int, list[Row]]:
        """The target's rows by the number of the row that reached them, and all above those that it made."""
        events = rows.take(parents).append_column(PARENT, pa.array(range(len(parents)), pa.int64()))
        words = judged(self.tables, way, found, events)
        known: dict[int, list[Row]] = {}
        for parent, row in zip(parents.to_pylist(), self.above(target, found, words, height + 1), strict=True):
            known.setdefault(parent, []).append(row)
        return known

    def _missing(self, way: Way, table: Standing) -> str:
        position = self.tables.state(way.node.flow.target).positions.get(way.flow)
        upto = position.inputs.get(str(table.state.name)) if position is not None else None
        if upto != table.snapshot:
            return f"not found: {way.flow} has read {table.state.name} up to snapshot {upto}"
        return "not found: removed since, or the query has changed"


def _links(way: Way, wanted: pa.Table) -> tuple[Link, ...]:
    """The target's own columns; in a row that sums up several groups a key may be NULL."""
    return tuple(replace(link, or_null=way.strand.partial) for link in links_of(wanted))


def _expressions(way: Way) -> dict[str, exp.Expr]:
    """What the target's keys are over a row, whether the query lets it through, and its constraints."""
    links = {f"{_LINK}{link.column}": link.expression for link in way.links}
    passes = {f"{_PASSES}{shown(part)}": part for part in way.strand.conditions}
    deleted = way.strand.columns.get(DELETED)
    return links | passes | checks_of(way) | ({DELETED: deleted} if deleted is not None else {})


def _held_up(event: Mapping[str, Any]) -> str:
    """Why a row did not come through a flow; empty where it did."""
    failed = [name for name, passed in event.items() if name.startswith(_PASSES) and passed is not True]
    if failed:
        return f"left out by {failed[0].removeprefix(_PASSES)}"
    return "deletes its key" if event.get(DELETED) else refused(event)
