"""`datalab quarantine`: records that could not be accepted."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.names import TableName
from datalab.platform.reviews import replay_records, show_records
from datalab.quality.review import Selection, Status, find, resolve, summary

app = typer.Typer(help="Look at records that could not be accepted; replay or discard them.")
IDS = Annotated[list[str] | None, typer.Argument(help="Ids of records; none: all that the options choose.")]
TABLE = Annotated[str | None, typer.Option("--table", help="Only records meant for this table.")]
REASON = Annotated[str | None, typer.Option("--reason", help="Only records with this reason.")]
ALL = Annotated[bool, typer.Option("--all", help="All open records, where nothing else is chosen.")]


@app.command("list")
def list_reasons(ctx: typer.Context) -> None:
    """Count the records by table, reason and status."""
    with lab_of(ctx) as lab:
        context = lab.context()
        rows = summary(context.lake, context.engine, context.now).to_pylist()
    columns = ("target", "reason", "status", "entries", "records", "oldest", "newest")
    formats = {"entries": ",", "records": ","}
    output.show(output.Table.of(rows, columns, formats=formats), as_json=options_of(ctx).json)


@app.command()
def show(
    ctx: typer.Context,
    ids: IDS = None,
    table: TABLE = None,
    reason: REASON = None,
    status: Annotated[str, typer.Option("--status", help="open, replayed, discarded, or any.")] = "open",
    limit: Annotated[int, typer.Option("--limit", help="Most records to show.", min=1)] = 20,
    raw: Annotated[
        bool, typer.Option("--raw", help="Also show the raw bytes, as base64: they may be personal.")
    ] = False,
) -> None:
    """Show records whole: position, reason, detail, content. Personal data is masked."""
    selection = _selection(ids, table, reason, status="" if status == "any" else status, limit=limit)
    with lab_of(ctx) as lab:
        records = show_records(lab.context(), selection, lab.personal_fields, raw=raw)
    if options_of(ctx).json:
        output.show(records, as_json=True)
        return
    for record in records:
        output.show(output.Table(("", ""), tuple(record.items()), record["id"]), as_json=False)
    if not records:
        output.show("no such record in quarantine", as_json=False)


@app.command()
def replay(
    ctx: typer.Context, ids: IDS = None, table: TABLE = None, reason: REASON = None, everything: ALL = False
) -> None:
    """Try records again after their contract or constraint was mended; the good ones enter their table once."""
    selection = _chosen(ids, table, reason, everything=everything)
    with lab_of(ctx) as lab:
        answers = replay_records(lab.context(), selection, lab.feeds, lab.graph)
    rows = [vars(answer) for answer in answers]
    output.show(output.Table.of(rows, ("table", "replayed", "still_quarantined")), as_json=options_of(ctx).json)


@app.command()
def discard(
    ctx: typer.Context, ids: IDS = None, table: TABLE = None, reason: REASON = None, everything: ALL = False
) -> None:
    """Mark records as not wanted; they stay in the table, but no longer count as open."""
    selection = _chosen(ids, table, reason, everything=everything)
    with lab_of(ctx) as lab:
        context = lab.context()
        records = find(context.lake, context.engine, selection, context.now)
        count = resolve(context.lake, context.engine, records, "discarded", context.run_id, context.now)
    output.show(
        {"discarded": count} if options_of(ctx).json else f"{count:,} records discarded", as_json=options_of(ctx).json
    )


def _chosen(ids: list[str] | None, table: str | None, reason: str | None, *, everything: bool) -> Selection:
    if not (ids or table or reason or everything):
        raise typer.BadParameter("say which records: ids, --table, --reason, or --all")
    return _selection(ids, table, reason)


def _selection(
    ids: list[str] | None, table: str | None, reason: str | None, status: str = "open", limit: int | None = None
) -> Selection:
    known = ("", "open", "replayed", "discarded")
    if status not in known:
        raise typer.BadParameter(f"'{status}' is not a status: open, replayed, discarded, or any")
    target = TableName.parse(table) if table else None
    return Selection(tuple(ids or ()), target, reason or "", cast("Status", status), limit)
