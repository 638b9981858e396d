"""`datalab impact`: what a change of a column touches."""

from __future__ import annotations

from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.lineage.impact import impact as touched
from datalab.platform.lineage import lineage_map

app = typer.Typer()


@app.command()
def impact(
    ctx: typer.Context,
    column: Annotated[str, typer.Argument(help="A column: layer.table.column, or a field inside one.")],
) -> None:
    """Show the flows, tables, features, training sets and models that a change of a column touches."""
    with lab_of(ctx) as lab:
        known = lineage_map(lab)
    found = touched(known, known.find(column))
    if options_of(ctx).json:
        output.show([vars(each) for each in found], as_json=True)
        return
    rows = [
        {
            "touched": each.name,
            "kind": each.kind,
            "rows": "yes" if each.rows else "",
            "columns": ", ".join(each.columns),
            "via": ", ".join(each.via),
        }
        for each in found
    ]
    output.show(output.Table.of(rows, ("touched", "kind", "via", "rows", "columns")), as_json=False)
    if not found:
        output.note(f"nothing is made of {column}", quiet=options_of(ctx).quiet)
