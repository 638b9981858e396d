"""`datalab flush`: the score log on its way to the lake."""

from __future__ import annotations

from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.platform.score_log import flush_logs, follow_logs

app = typer.Typer()


@app.command()
def flush(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", help="Go on, every serving.flush_seconds, until ended.")] = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End when standard input ends.")] = False,
) -> None:
    """Take answered scores and recorded reviews from the server's log to the lake, each once."""
    with lab_of(ctx) as lab:
        if follow:
            follow_logs(lab, until_eof=until_eof)
            return
        flushed = flush_logs(lab)
    rows = [{"table": str(each.table), "rows": each.rows, "damaged": each.damaged} for each in flushed]
    output.show(output.Table.of(rows, formats={"rows": ","}), as_json=options_of(ctx).json)
