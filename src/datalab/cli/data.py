"""`datalab data`: what comes in, what there is, and what happened to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from datalab.cli import output
from datalab.cli.lookback import data_diff, data_history, data_restore, data_tag
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.query import AT, moment
from datalab.cli.run import perform
from datalab.cli.simulate import simulate
from datalab.cli.upkeep import data_analyze, data_cleanup, data_expire, data_optimize, data_vacuum
from datalab.errors import DataLabError
from datalab.ingest.validate import Validated
from datalab.lake.lake import Lake
from datalab.names import TableName, is_internal
from datalab.platform.masking import mask_value
from datalab.platform.wish import Wish
from datalab.quality.quarantine import QUARANTINE

app = typer.Typer(help="Take in, list, show and validate data.")
TABLE = Annotated[str, typer.Argument(help="A table: layer.table.")]
_CONTENT = ("raw", "row")
app.command()(simulate)
app.command("history")(data_history)
app.command("diff")(data_diff)
app.command("restore")(data_restore)
app.command("tag")(data_tag)
app.command("optimize")(data_optimize)
app.command("cleanup")(data_cleanup)
app.command("expire")(data_expire)
app.command("vacuum")(data_vacuum)
app.command("analyze")(data_analyze)


@app.command()
def ingest(
    ctx: typer.Context,
    tables: Annotated[list[str] | None, typer.Argument(help="Bronze tables to feed; none: all sources.")] = None,
) -> None:
    """Take in new records of the sources; no flow runs."""
    perform(ctx, Wish(tuple(map(TableName.parse, tables or [])), flows=False))


@app.command("list")
def list_tables(ctx: typer.Context) -> None:
    """List all tables: format, rows, files, bytes, last commit; one that cannot be read with what is wrong."""
    as_json = options_of(ctx).json
    with lab_of(ctx) as lab:
        listed = [_table(lab.lake, name) for name in lab.tables()]
    errors = [error for _, error in listed if error is not None]
    formats = dict.fromkeys(("rows", "files", "bytes"), ",")
    columns = ("table", "format", "rows", "files", "bytes", "snapshot", "last_commit", "comment")
    shown = (*columns, "problem") if errors or as_json else columns
    output.show(output.Table.of([row for row, _ in listed], shown, formats=formats), as_json=as_json)
    if errors:  # after all tables had their turn: the first error decides the exit code
        raise errors[0]


@app.command()
def show(
    ctx: typer.Context,
    table: TABLE,
    at: AT = None,
    limit: Annotated[int, typer.Option("--limit", help="Rows to show.", min=0)] = 10,
) -> None:
    """Show columns and first rows of a table, now or as of an earlier moment; personal data is masked."""
    name = TableName.parse(table)
    with lab_of(ctx) as lab:
        columns = [{"column": field.name, "type": str(field.type)} for field in lab.lake.require(name).schema]
        found = lab.query(f"SELECT * FROM {name} LIMIT {limit}", moment(at)).read_all()
        hidden = lab.personal_fields + (_CONTENT if name == QUARANTINE and lab.personal_fields else ())
        rows = mask_value(found.to_pylist(), hidden)
    if options_of(ctx).json:
        output.show({"columns": columns, "rows": rows}, as_json=True)
        return
    output.show(output.Table.of([c for c in columns if not is_internal(c["column"])], title=str(name)), as_json=False)
    first = output.Table.of(rows, found.column_names, title=f"first {found.num_rows} rows", exact=True)
    output.show(first, as_json=False)


@app.command()
def validate(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="A source of the project: its contract and format are used.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Files to judge; none: all files of the source.")] = None,
) -> None:
    """Judge files by a source's contract without taking them in; exit code 1 where a record would be quarantined."""
    with lab_of(ctx) as lab:
        verdicts = [_verdict(verdict) for verdict in lab.validate(source, tuple(files or ()))]
    output.show(
        output.Table.of(verdicts, ("file", "records", "accepted", "quarantined", "reasons")),
        as_json=options_of(ctx).json,
    )
    if any(verdict["quarantined"] for verdict in verdicts):
        raise typer.Exit(1)


def _verdict(found: Validated) -> dict[str, Any]:
    quarantined = sum(found.reasons.values())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.reasons.items())
    return {
        "file": found.file,
        "records": found.accepted + quarantined,
        "accepted": found.accepted,
        "quarantined": quarantined,
        "reasons": found.problem or reasons,
    }


def _table(lake: Lake, name: TableName) -> tuple[dict[str, Any], DataLabError | None]:
    try:
        return {"table": str(name), **_described(lake, name)}, None
    except DataLabError as error:
        return {"table": str(name), "problem": error.message}, error


def _described(lake: Lake, name: TableName) -> dict[str, Any]:
    state = lake.require(name)
    live = lake.files(state)
    last = lake.history(state)
    return {
        "format": state.format,
        "rows": live.rows,
        "files": len(live.files),
        "bytes": sum(file.size for file in live.files),
        "snapshot": state.snapshot,
        "last_commit": last[-1].at if last else None,
        "comment": state.comment,
    }
