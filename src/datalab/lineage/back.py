"""From a place in a source to everything that its record reached."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
from sqlglot import exp

from datalab.errors import InvalidKey, RecordNotFound
from datalab.lineage.arrival import Arrival
from datalab.lineage.ascent import Ascent
from datalab.lineage.flows import FILE_POSITION, STREAM_POSITION
from datalab.lineage.records import values_of
from datalab.lineage.rows import PARENT, Search, Standing, Tables, links_of
from datalab.lineage.tree import Row
from datalab.names import TableName
from datalab.quality.quarantine import QUARANTINE

_SHOWN = ("target", "reason", "detail", "status", "id")


@dataclass(frozen=True)
class Place:
    """A record of a source: a row of a file, or an offset of a topic's partition."""

    values: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read `FILE:ROW`, or `TOPIC/PARTITION/OFFSET`. InvalidKey."""
        file, colon, row = text.rpartition(":")
        if colon and file and row.isdigit():
            return cls(dict(zip(FILE_POSITION, (file, int(row)), strict=True)))
        topic, _, rest = text.partition("/")
        partition, _, offset = rest.partition("/")
        if topic and partition.isdigit() and offset.isdigit():
            return cls(dict(zip(STREAM_POSITION, (topic, int(partition), int(offset)), strict=True)))
        raise InvalidKey(f"'{text}' is not a place in a source", "write FILE:ROW, or TOPIC/PARTITION/OFFSET")

    def __str__(self) -> str:
        values = [*map(str, self.values.values())]
        return ":".join(values) if len(values) == 2 else "/".join(values)


@dataclass(frozen=True)
class Reached:
    """Rows that a source record is in bronze, each with all that is above; and what of it was set aside, and why."""

    place: str
    rows: tuple[Row, ...]
    quarantined: tuple[dict[str, Any], ...]


def reached(tables: Tables, ascent: Ascent, sources: Collection[TableName], place: Place) -> Reached:
    """Everything that a source record reached. RecordNotFound, with the files or rows that there are."""
    known = [table for table in _standing(tables, sources) if set(place.values) <= set(table.columns)]
    rows = tuple(row for table in known for row in _above(tables, ascent, table, place))
    quarantined = tuple(_quarantined(tables, place))
    if not rows and not quarantined:
        raise RecordNotFound(f"no table holds a record of {place}", _hint(tables, known, place))
    return Reached(str(place), rows, quarantined)


def _above(tables: Tables, ascent: Ascent, table: Standing, place: Place) -> tuple[Row, ...]:
    arrival = Arrival(tables, ascent.flows.graph, table.state.name, _wanted(table, place))
    return replace(ascent, arrival=arrival).above(table, _at(tables, table, place))


def _standing(tables: Tables, names: Collection[TableName]) -> Iterator[Standing]:
    for name in sorted(names):
        if tables.lake.state(name) is not None:
            yield tables.at(name, None)


def _at(tables: Tables, table: Standing, place: Place) -> pa.Table:
    wanted = _wanted(table, place)
    return tables.find(table, Search(links_of(wanted), wanted)).rows.drop_columns([PARENT])


def _wanted(table: Standing, place: Place) -> pa.Table:
    schema = table.relation.schema
    return pa.table({name: pa.array([value], schema.field(name).type) for name, value in place.values.items()})


def _quarantined(tables: Tables, place: Place) -> Iterator[dict[str, Any]]:
    for table in _standing(tables, [QUARANTINE]):
        for record in _at(tables, table, place).to_pylist():
            yield {name: value for name, value in values_of(record).items() if name in _SHOWN}


def _hint(tables: Tables, known: list[Standing], place: Place) -> str:
    """Which rows the file has, or which files are called nearly so."""
    first, *_ = place.values
    names: dict[str, int] = {}
    for table in known:
        column = exp.column(exp.to_identifier(first, quoted=True))
        last = exp.Max(this=exp.column([*place.values][-1]))
        tree = exp.select(exp.alias_(column, "name"), exp.alias_(last, "last")).from_(str(table.state.name))
        for found in tables.ask(tree.group_by(column), {str(table.state.name): table.relation}).to_pylist():
            if found["name"] is not None:
                names[found["name"]] = found["last"]
    if place.values[first] in names:
        return f"the last record of it that is in a table is {names[place.values[first]]:,}"
    near = get_close_matches(str(place.values[first]), names, n=1)
    return f"did you mean {near[0]}?" if near else "datalab data list shows the tables that there are"
