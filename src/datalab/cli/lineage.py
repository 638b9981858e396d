"""`datalab lineage`: which table and column comes from which, as text, for programs, or as a Mermaid diagram."""

from __future__ import annotations

from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.diagrams import column_diagram, table_diagram
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.trees import Node, lines
from datalab.lineage.columns import Ref
from datalab.lineage.impact import downstream, upstream
from datalab.lineage.map import Edge, Map
from datalab.platform.lineage import lineage_map

app = typer.Typer()


@app.command()
def lineage(
    ctx: typer.Context,
    column: Annotated[
        str | None, typer.Option("--column", help="Only what one column comes from and goes into: layer.table.column.")
    ] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Answer as a Mermaid diagram.")] = False,
) -> None:
    """Show where tables and columns come from: sources, flows, feature views, training sets, models."""
    with lab_of(ctx) as lab:
        known = lineage_map(lab)
    refs = known.find(column) if column else ()
    edges = tuple(sorted({*upstream(known, refs), *downstream(known, refs)})) if refs else known.edges
    if options_of(ctx).json:
        output.show(_record(known, edges), as_json=True)
    elif mermaid:
        output.show_lines(column_diagram(known, edges) if refs else table_diagram(known))
    elif refs:
        for ref in refs:
            output.show_lines(lines(_column(known, ref)))
    else:
        output.show(output.Table.of(_things(known), ("name", "kind", "columns", "made by", "from")), as_json=False)


def _record(known: Map, edges: tuple[Edge, ...]) -> dict[str, object]:
    names = {end.owner for edge in edges for end in (edge.source, edge.target)}
    things = [thing for thing in known if thing.name in names or edges == known.edges]
    return {
        "things": [vars(thing) for thing in things],
        "edges": [
            {"from": vars(edge.source), "to": vars(edge.target), "via": edge.via, "decides": edge.decides}
            for edge in edges
        ],
    }


def _things(known: Map) -> list[dict[str, object]]:
    return [
        {
            "name": thing.name,
            "kind": thing.kind,
            "columns": len([name for name in thing.columns if "." not in name]),
            "made by": ", ".join(thing.made_by),
            "from": ", ".join(sorted({edge.source.owner for edge in known.edges if edge.target.owner == thing.name})),
        }
        for thing in known
    ]


def _column(known: Map, ref: Ref) -> Node:
    """A column with the columns that its value is made of below it, and then what it goes into."""
    values = [edge for edge in known.edges if not edge.decides]
    decided = sorted({str(edge.source) for edge in known.edges if edge.decides and edge.target.owner == ref.owner})
    rows = (Node(f"rows decided by {', '.join(decided)}"),) if decided else ()
    into = [edge for edge in known.edges if edge.source.covers(ref) and edge.source.column]
    reached = tuple(Node(f"→ {edge.target}{' (decides on rows)' if edge.decides else ''}  {edge.via}") for edge in into)
    return Node(str(ref), (*_made_of(values, ref, ()), *rows, *reached))


def _made_of(values: list[Edge], ref: Ref, path: tuple[Ref, ...]) -> tuple[Node, ...]:
    edges = [edge for edge in values if edge.target.covers(ref) and edge.source not in path] if ref.column else []
    return tuple(Node(f"← {edge.source}  {edge.via}", _made_of(values, edge.source, (*path, ref))) for edge in edges)
