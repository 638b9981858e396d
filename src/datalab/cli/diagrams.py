"""The map of a project as Mermaid flowcharts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from datalab.lineage.columns import Ref
from datalab.lineage.map import Edge, Map

_SHAPES = {
    "source table": ("[(", ")]"),
    "feature view": ("([", "])"),
    "training set": ("[/", "/]"),
    "model": ("{{", "}}"),
}
_OTHER = re.compile(r"\W")


def table_diagram(known: Map) -> Iterator[str]:
    """Things, and what makes one of another on the arrows."""
    yield "flowchart LR"
    for thing in known:
        left, right = _SHAPES.get(thing.kind, ("[(", ")]"))
        yield f'  {_id(thing.name)}{left}"{thing.name}"{right}'
    arrows = {(edge.source.owner, edge.target.owner, edge.via): None for edge in known.edges}
    for source, target, via in arrows:
        yield f'  {_id(source)} -->|"{via}"| {_id(target)}'


def column_diagram(known: Map, edges: Sequence[Edge]) -> Iterator[str]:
    """Columns in boxes of their things; dotted arrows where a column decides which rows there are."""
    yield "flowchart LR"
    ends = sorted({end for edge in edges for end in (edge.source, edge.target)})
    for thing in known:
        inside = [end for end in ends if end.owner == thing.name]
        if inside:
            yield f'  subgraph {_id(thing.name)}["{thing.name}"]'
            yield from (f'    {_node(end)}["{end.column or "rows"}"]' for end in inside)
            yield "  end"
    for edge in edges:
        arrow = "-.->" if edge.decides else "-->"
        yield f"  {_node(edge.source)} {arrow} {_node(edge.target)}"


def _node(end: Ref) -> str:
    return f"{_id(end.owner)}__{_id(end.column or 'rows')}"


def _id(text: str) -> str:
    return _OTHER.sub("_", text)
