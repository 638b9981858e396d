"""`datalab doctor`: what is not well with the tables, and what helps."""

from __future__ import annotations

from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.names import TableName
from datalab.platform.doctor import examine

app = typer.Typer()


@app.command()
def doctor(
    ctx: typer.Context,
    tables: Annotated[list[str] | None, typer.Argument(help="Tables to look at; none: all, and the project.")] = None,
) -> None:
    """Find what is not well with the tables and say what helps; exit code 1 where there is something."""
    with lab_of(ctx) as lab:
        names = tuple(map(TableName.parse, tables or ()))
        for name in names:
            lab.lake.require(name)
        findings = list(examine(lab, names))
        looked = len(names or lab.tables())
    if findings or options_of(ctx).json:
        rows = [vars(finding) for finding in findings]
        output.show(output.Table.of(rows, ("check", "table", "found", "hint")), as_json=options_of(ctx).json)
    else:
        output.show(f"all is well: {looked} tables", as_json=False)
    if findings:
        raise typer.Exit(1)
