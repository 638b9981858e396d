"""`datalab trace`: from a score or a row down to the records it came from, and from a record up to all it reached."""

from __future__ import annotations

from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.query import AT, moment
from datalab.cli.traced import reached_tree, row_tree, score_tree
from datalab.cli.trees import Node, lines
from datalab.errors import InvalidName
from datalab.lineage.back import Reached
from datalab.lineage.scores import Score
from datalab.lineage.tree import Rows
from datalab.names import TableName
from datalab.platform.lab import Lab
from datalab.platform.traces import ROWS, ROWS_OF_A_SCORE, Question, trace_back, trace_rows, trace_score_of

app = typer.Typer()
Traced = Score | Reached | Rows


@app.command()
def trace(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="A score's id, or a table (layer.table) whose rows are meant.")] = "",
    keys: Annotated[list[str] | None, typer.Argument(help="Which rows of the table: column=value …")] = None,
    back: Annotated[
        str | None, typer.Option("--back", help="A source record instead, FILE:ROW: show all that it reached.")
    ] = None,
    at: AT = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Most rows to show below each row (10; of a score 3); 0: all.", min=0)
    ] = None,
) -> None:
    """Trace a score or a row down to the source records it was made from, or back up from one."""
    if bool(what) == bool(back):
        raise typer.BadParameter("say what to trace: a score's id, a table with column=value, or --back FILE:ROW")
    with lab_of(ctx) as lab:
        found = trace_back(lab, back, _or(limit, ROWS)) if back else _down(lab, what, keys or [], at, limit)
    options = options_of(ctx)
    if options.json:
        output.show(found, as_json=True)
    else:
        for tree in _trees(found):
            output.show_lines(lines(tree))
        if isinstance(found, Rows) and found.total > len(found.rows):
            shown = f"the first {len(found.rows)} of {found.total:,} rows; --limit 0 shows all"
            output.note(shown, quiet=options.quiet)


def _down(lab: Lab, what: str, keys: list[str], at: str | None, limit: int | None) -> Traced:
    try:
        table = TableName.parse(what)
    except InvalidName:
        if keys or at:
            raise
        return trace_score_of(lab, what, _or(limit, ROWS_OF_A_SCORE))
    return trace_rows(lab, Question(table, keys, moment(at), _or(limit, ROWS)))


def _or(given: int | None, usual: int) -> int:
    return usual if given is None else given


def _trees(found: Traced) -> tuple[Node, ...]:
    match found:
        case Score():
            return (score_tree(found),)
        case Reached():
            return (reached_tree(found),)
        case Rows():
            return tuple(map(row_tree, found.rows))
