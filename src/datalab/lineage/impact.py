"""What a change of a column touches, and what a column is made of: walks over the map, either way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from datalab.lineage.columns import Ref
from datalab.lineage.map import Edge, Map, Thing

_End = Callable[[Edge], Ref]


@dataclass(frozen=True)
class Touched:
    """A thing that a change touches: values of these columns, and (`rows`) which rows it has; `via` flows or files."""

    name: str
    kind: str
    columns: tuple[str, ...]
    rows: bool
    via: tuple[str, ...]


def impact(known: Map, changed: Collection[Ref]) -> tuple[Touched, ...]:
    """Everything that a change of columns touches, through any number of steps, in the order of the map."""
    edges = downstream(known, changed)
    rows = _spread(known, {edge.target.owner for edge in edges if edge.decides})
    owners = {edge.target.owner for edge in edges} | rows
    return tuple(_touched(thing, edges, known, rows) for thing in known if thing.name in owners)


def downstream(known: Map, start: Collection[Ref]) -> tuple[Edge, ...]:
    """The edges along which values of columns go on, and those by which one of them decides on the rows of a thing."""
    values = _walked(known, start, lambda edge: edge.source, lambda edge: edge.target)
    reached = [*start, *(edge.target for edge in values)]
    deciding = (edge for edge in known.edges if edge.decides and any(edge.source.covers(ref) for ref in reached))
    return tuple(sorted({*values, *deciding}))


def upstream(known: Map, start: Collection[Ref]) -> tuple[Edge, ...]:
    """The edges along which columns got their values, and what decided on the rows of all things on the way."""
    values = _walked(known, start, lambda edge: edge.target, lambda edge: edge.source)
    owners = {ref.owner for ref in start} | {edge.target.owner for edge in values}
    return tuple(sorted({*values, *(edge for edge in known.edges if edge.decides and edge.target.owner in owners)}))


def _walked(known: Map, start: Collection[Ref], near: _End, far: _End) -> set[Edge]:
    found: set[Edge] = set()
    waiting = [*start]
    while waiting:
        here = waiting.pop()
        for edge in known.edges:
            if not edge.decides and edge not in found and near(edge).covers(here):
                found.add(edge)
                waiting.append(far(edge))
    return found


def _spread(known: Map, owners: set[str]) -> set[str]:
    """Things whose rows are others, and all that is made of them."""
    spread = set(owners)
    for thing in known:
        if any(edge.source.owner in spread for edge in known.edges if edge.target.owner == thing.name):
            spread.add(thing.name)
    return spread


def _touched(thing: Thing, edges: Collection[Edge], known: Map, rows: Collection[str]) -> Touched:
    columns = {edge.target.column for edge in edges if edge.target.owner == thing.name}
    via = {edge.via: None for edge in edges if edge.target.owner == thing.name}
    if not via:
        via = {e.via: None for e in known.edges if e.target.owner == thing.name and e.source.owner in rows}
    return Touched(
        thing.name, thing.kind, tuple(name for name in thing.columns if name in columns), thing.name in rows, tuple(via)
    )
