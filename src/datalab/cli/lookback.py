"""`datalab data history | diff | restore | tag`: how a table came to be what it is, and the way back."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.query import AT, moment
from datalab.lake.provenance import CheckResult, Provenance
from datalab.lake.restore import named, restore
from datalab.lake.table import Snapshot
from datalab.names import TableName
from datalab.platform.differences import compare, keys_of
from datalab.platform.masking import mask_value
from datalab.quality.review import reopen

TABLE = Annotated[str, typer.Argument(help="A table: layer.table.")]
MOMENT = "a snapshot id, a tag, or a moment in UTC."
_TAG = re.compile(r"[a-z][a-z0-9_.-]{0,62}\Z")
_NUMBERS = dict.fromkeys(("read", "written", "quarantined", "superseded", "total", "files", "bytes"), ",")
_COLUMNS = ("snapshot", "at", "kind", "run", "flow", "code", "inputs", *_NUMBERS, "checks", "tags")


def data_history(ctx: typer.Context, table: TABLE) -> None:
    """Show every commit of a table: when, by which run and flow, from what, rows in and out, checks, files."""
    name = TableName.parse(table)
    with lab_of(ctx) as lab:
        state = lab.lake.require(name)
        snapshots, tags = lab.lake.history(state), lab.lake.tags(state)
    as_json = options_of(ctx).json
    rows = [_commit(snapshot, tags, as_json=as_json) for snapshot in reversed(snapshots)]
    output.show(output.Table.of(rows, _COLUMNS, formats=_NUMBERS), as_json=as_json)


def data_diff(
    ctx: typer.Context,
    table: TABLE,
    before: Annotated[str, typer.Argument(metavar="A", help=f"From: {MOMENT}")],
    after: Annotated[str, typer.Argument(metavar="B", help=f"To: {MOMENT}")],
    key: Annotated[
        str | None, typer.Option("--key", help="Columns that tell rows apart, with commas; none: as its flow declares.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Rows to show.", min=0)] = 20,
) -> None:
    """Compare two snapshots of a table: rows added, removed, and changed by key; personal data is masked."""
    name = TableName.parse(table)
    with lab_of(ctx) as lab:
        keys = tuple(filter(None, map(str.strip, key.split(",")))) if key is not None else keys_of(lab.graph, name)
        ends = moment(before), moment(after)
        assert ends[0] is not None
        assert ends[1] is not None
        found = compare(lab.lake, lab.engine, name, (ends[0], ends[1]), keys, limit)
        rows = mask_value(found.rows, lab.personal_fields)
    summary = {name: getattr(found, name) for name in ("since", "until", "keys", "added", "removed", "changed")}
    if options_of(ctx).json:
        output.show({**summary, "rows": rows}, as_json=True)
        return
    output.show({**summary, "keys": ", ".join(found.keys) or "none: rows are compared as a whole"}, as_json=False)
    if rows:
        output.show(output.Table.of(rows, exact=True), as_json=False)


def data_restore(
    ctx: typer.Context,
    table: TABLE,
    to: Annotated[str, typer.Option("--to", help=f"Back to {MOMENT}")],
) -> None:
    """Make an earlier snapshot the table's rows again, by a new commit; the next run goes on from there."""
    name = TableName.parse(table)
    with lab_of(ctx) as lab:
        state = lab.lake.require(name)
        when = moment(to)
        assert when is not None
        target = lab.lake.at(state, when)
        context = lab.context()
        after = restore(lab.lake, name, target, context.run_id)
        reopened = reopen(lab.lake, lab.engine, name, context.run_id, context.now)
        rows = lab.lake.files(after).rows
    answer = {"table": str(name), "restored": target, "snapshot": after.snapshot, "rows": rows, "reopened": reopened}
    output.show(answer, as_json=options_of(ctx).json)


def data_tag(
    ctx: typer.Context,
    table: TABLE,
    tag: Annotated[str | None, typer.Argument(metavar="NAME", help="The tag; none: list those that there are.")] = None,
    at: AT = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag away.")] = False,
) -> None:
    """Give a snapshot a name, so that it is found again and never expires; list names, or take one away."""
    name = TableName.parse(table)
    if tag is not None and not _TAG.match(tag):
        raise typer.BadParameter(f"'{tag}' is no tag: use a-z, 0-9, _, . and -, starting with a letter")
    with lab_of(ctx) as lab:
        state = lab.lake.require(name)
        if tag is not None:
            when = moment(at)
            wanted = state.snapshot if when is None else lab.lake.at(state, when)
            named(lab.lake, name, tag, None if remove else wanted)
        found = lab.lake.tags(lab.lake.require(name))
    rows = [{"tag": each, "snapshot": snapshot} for each, snapshot in sorted(found.items())]
    output.show(output.Table.of(rows, ("tag", "snapshot")), as_json=options_of(ctx).json)


def _commit(snapshot: Snapshot, tags: Any, *, as_json: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"snapshot": snapshot.id, "at": snapshot.at, "kind": snapshot.operation}
    record |= {"total": snapshot.rows_total, "files": snapshot.files_added, "bytes": snapshot.bytes_added}
    record["tags"] = [tag for tag, tagged in tags.items() if tagged == snapshot.id] or ([] if as_json else None)
    made = snapshot.provenance
    if made is None:
        return {**record, "written": snapshot.rows_added}
    counts = {name: getattr(made, name) for name in ("read", "written", "quarantined", "superseded")}
    checks = [vars(check) for check in made.checks] if as_json else "; ".join(map(_check, made.checks)) or None
    return {
        **record,
        **counts,
        "run": made.run_id,
        "flow": made.flow,
        "code": made.code[:12],
        "inputs": _inputs(made),
        "checks": checks,
    }


def _inputs(made: Provenance) -> list[str]:
    ranges = [f"{name} {part.start or 'start'} → {part.to}" for name, part in made.inputs.items()]
    files = made.details.get("files")
    if made.details.get("to"):
        return [f"back to {made.details['to']}"]
    return ranges or ([f"{len(files)} files"] if files else [])


def _check(check: CheckResult) -> str:
    return f"{check.name} {check.failed:,} {check.action}" if check.failed else f"{check.name} ok"
