"""`datalab query`: one SELECT over any tables of the lake."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import pyarrow as pa
import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.platform.queries import Moment

_TAG = re.compile(r"[A-Za-z_][\w.-]*\Z")
app = typer.Typer()
AT = Annotated[str | None, typer.Option("--at", help="As of a moment (2026-11-20T08:00, UTC), a snapshot id or a tag.")]


@app.command()
def query(
    ctx: typer.Context,
    sql: Annotated[str, typer.Argument(help="A SELECT in the Spark dialect; tables are layer.table.")],
    at: AT = None,
    limit: Annotated[int, typer.Option("--limit", help="Most rows to show; 0: all.", min=0)] = 1000,
) -> None:
    """Ask the tables: one SELECT in the Spark dialect, now or as of an earlier moment."""
    with lab_of(ctx) as lab:
        reader = lab.query(sql, moment(at))
        rows, more = _rows(reader, limit)
        names = tuple(reader.schema.names)
    output.show(output.Table.of(rows, names, exact=True), as_json=options_of(ctx).json)
    if more:
        output.note(f"the first {limit:,} rows; --limit 0 shows all", quiet=options_of(ctx).quiet)


def moment(text: str | None) -> Moment | None:
    """A snapshot id, a tag or a moment in UTC, as given on the command line."""
    if text is None or _TAG.match(text):
        return text
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"'{text}' is no snapshot id, no tag and no moment such as 2026-11-20T08:00"
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _rows(reader: pa.RecordBatchReader, limit: int) -> tuple[list[dict[str, object]], bool]:
    rows = (row for batch in reader for row in batch.to_pylist())
    if not limit:
        return list(rows), False
    found = list(islice(rows, limit + 1))
    return found[:limit], len(found) > limit
