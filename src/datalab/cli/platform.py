"""`datalab platform`: how the processes are that keep a project going."""

from __future__ import annotations

import typer

from datalab.cli import output
from datalab.cli.configured import configuration_of
from datalab.cli.options import options_of
from datalab.platform.pulse import problems, pulses, status_rows

app = typer.Typer(help="See how the processes are that keep a project going.")
_COUNTS = dict.fromkeys(("lag", "records_per_second", "read", "quarantined", "commits"), ",")


@app.command()
def status(ctx: typer.Context) -> None:
    """Show what each process that follows sources does: lag, rate, how late records are, how long commits take."""
    options = options_of(ctx)
    rows = status_rows(pulses(configuration_of(ctx)))
    if rows or options.json:
        output.show(output.Table.of(rows, formats=_COUNTS), as_json=options.json)
    else:
        output.show("no process follows a source: datalab ingest --follow", as_json=False)


@app.command()
def health(ctx: typer.Context) -> None:
    """Say whether all of them are well; exit code 1 where one waits for something, or ended without a word."""
    said = problems(pulses(configuration_of(ctx)))
    as_json = options_of(ctx).json
    if as_json:
        output.show({"well": not said, "problems": list(said)}, as_json=True)
    else:
        output.show_lines(said or ("well",))
    if said:
        raise typer.Exit(1)
