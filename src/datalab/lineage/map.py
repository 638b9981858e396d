"""The map of a project: tables, feature views, training sets and models, and which column comes from which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import pyarrow as pa

from datalab.errors import InvalidKey
from datalab.lineage.columns import NOTHING, Origins, Ref, Refs, flow_origins
from datalab.lineage.resolve import Unresolved
from datalab.names import TableName
from datalab.pipelines.graph import FlowNode, Graph


@dataclass(frozen=True)
class Thing:
    """Something that has columns. `kind` says what; `made_by` are the flows or the file that make it."""

    name: str
    kind: str
    columns: tuple[str, ...] = ()
    made_by: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, order=True)
class Edge:
    """One column comes from another through `via`. `decides`: it decides which rows of the target there are."""

    source: Ref
    target: Ref
    via: str
    decides: bool = False


@dataclass(frozen=True)
class Map:
    """All things by name, in an order in which each comes after what it is made of; and all edges, sorted."""

    things: Mapping[str, Thing]
    edges: tuple[Edge, ...] = ()

    def find(self, text: str) -> tuple[Ref, ...]:
        """`layer.table.column`, `layer.table`, or the name of a column anywhere. InvalidKey with the nearest names."""
        wanted = text.lower()
        known = {str(Ref(thing.name, column)): Ref(thing.name, column) for thing in self for column in thing.columns}
        known |= {thing.name: Ref(thing.name) for thing in self}
        if wanted in known:
            return (known[wanted],)
        named = tuple(ref for ref in known.values() if ref.column == wanted)
        if named:
            return named
        hint = _near(wanted, known)
        raise InvalidKey(f"there is no column {text}", hint or "datalab lineage shows what there is")

    def __iter__(self) -> Iterator[Thing]:
        return iter(self.things.values())


def _near(wanted: str, known: Mapping[str, Ref]) -> str:
    """The names nearest to a wrong one: by the last part in the table that is named, else by the whole."""
    last = wanted.rpartition(".")[2]
    leaves: dict[str, str] = {}
    for text, ref in known.items():
        if ref.column and (wanted.startswith(f"{ref.owner}.") or "." not in wanted):
            leaves.setdefault(text.rpartition(".")[2], text)
    near = [leaves[leaf] for leaf in get_close_matches(last, leaves, n=3)] or get_close_matches(wanted, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""


@dataclass
class Drawing:
    """A map that is being drawn: things are added after what they are made of."""

    things: dict[str, Thing] = field(default_factory=dict)
    edges: set[Edge] = field(default_factory=set)

    def add(self, thing: Thing, found: Origins, via: str) -> None:
        """A thing, or one more way into it."""
        known = self.things.get(thing.name)
        columns = tuple(dict.fromkeys((*(known.columns if known else ()), *thing.columns)))
        made_by = (*(known.made_by if known else ()), *thing.made_by)
        self.things[thing.name] = replace(thing, columns=columns, made_by=made_by)
        values = (Edge(ref, Ref(thing.name, name), via) for name, refs in found.columns.items() for ref in refs)
        self.edges |= {*values, *(Edge(ref, Ref(thing.name), via, decides=True) for ref in found.rows)}

    def done(self) -> Map:
        """The map."""
        return Map(dict(self.things), tuple(sorted(self.edges)))


def draw_tables(graph: Graph, sources: Mapping[TableName, pa.Schema]) -> Drawing:
    """The tables of a graph; `sources` are the columns of those that no flow makes."""
    drawing = Drawing()
    for name, schema in sources.items():
        drawing.add(Thing(str(name), "source table", tuple(column_paths(schema))), Origins({}), "")
    columns: dict[TableName, Sequence[str]] = {name: schema.names for name, schema in sources.items()}
    for node in graph.flows:
        found, note = _origins(node, columns)
        target = node.flow.target
        known = columns.get(target, ())
        columns[target] = [*known, *(name for name in found.columns if name not in known)]
        kind = node.dataset.kind.replace("_", " ")
        drawing.add(Thing(str(target), kind, tuple(found.columns), (node.flow.name,), note), found, node.flow.name)
    return drawing


def column_paths(fields: Iterable[pa.Field], before: str = "") -> Iterator[str]:
    """The columns of a schema in lower case, and the fields inside them as `column.field`."""
    for each in fields:
        path = f"{before}{each.name.lower()}"
        yield path
        if pa.types.is_struct(each.type):
            yield from column_paths(each.type, f"{path}.")


def _origins(node: FlowNode, columns: Mapping[TableName, Sequence[str]]) -> tuple[Origins, str]:
    """Where a flow's columns come from; where that cannot be told, that any of its inputs decides on its rows."""
    try:
        return flow_origins(node, columns), ""
    except Unresolved as error:
        rows: Refs = frozenset(Ref(str(read.table)) for read in node.inputs)
        columns_known = {name.lower(): NOTHING for name in node.query.named_selects if name != "*"}
        return Origins(columns_known, rows), f"its columns cannot be followed: {error}"
