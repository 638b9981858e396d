"""`datalab data optimize | cleanup | expire | vacuum | analyze`: tables kept healthy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.errors import DataLabError
from datalab.lake.maintenance.compact import Compaction
from datalab.lake.maintenance.expire import Expiry
from datalab.lake.maintenance.vacuum import Vacuumed
from datalab.names import TableName
from datalab.platform.lab import Lab
from datalab.platform.upkeep import analyze_tables, expire_snapshots, optimize, remove_leftovers, remove_orphans
from datalab.quality.statistics import Analyzed

TABLES = Annotated[list[str] | None, typer.Argument(help="Tables: layer.table. One of them, or --all.")]
ALL = Annotated[bool, typer.Option("--all", help="All tables of the lake.")]
DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; nothing is written or removed.")]
_SIZES = dict.fromkeys(("files", "bytes", "into", "expired", "kept", "needed", "young"), ",")


def data_optimize(ctx: typer.Context, tables: TABLES = None, everything: ALL = False, dry_run: DRY_RUN = False) -> None:
    """Merge small data files into well-sized ones, in the order of the cluster columns; no row changes."""
    with lab_of(ctx) as lab:
        done = list(optimize(lab, chosen(lab, tables, everything=everything), dry_run=dry_run))
    _show(ctx, [_compaction(each) for each in done], ("table", "files", "bytes", "into", "snapshot", "why"))
    _raise_first(done)


def data_expire(ctx: typer.Context, tables: TABLES = None, everything: ALL = False, dry_run: DRY_RUN = False) -> None:
    """Forget old snapshots that nobody needs, and remove the files that only they named."""
    with lab_of(ctx) as lab:
        done = list(expire_snapshots(lab, chosen(lab, tables, everything=everything), dry_run=dry_run))
    details = ("snapshots",) if options_of(ctx).json else ()
    rows = [{**_expiry(each), "snapshots": _verdicts(each)} for each in done]
    _show(ctx, rows, ("table", "expired", "kept", "needed", "files", "bytes", "why", *details))
    _raise_first(done)


def data_vacuum(ctx: typer.Context, tables: TABLES = None, everything: ALL = False, dry_run: DRY_RUN = False) -> None:
    """Remove orphans: files that no metadata names and that are older than the grace period."""
    with lab_of(ctx) as lab:
        done = list(remove_orphans(lab, chosen(lab, tables, everything=everything), dry_run=dry_run))
    _show(ctx, [_vacuumed(each) for each in done], ("table", "files", "bytes", "young", "why"))
    _raise_first(done)


def data_analyze(ctx: typer.Context, tables: TABLES = None, everything: ALL = False, dry_run: DRY_RUN = False) -> None:
    """Count rows, NULLs and distinct values of each column of tables that changed, into ops.statistics."""
    with lab_of(ctx) as lab:
        done = list(analyze_tables(lab, chosen(lab, tables, everything=everything), dry_run=dry_run))
    counted = [row for each in done for row in each.columns.to_pylist()]
    if counted:
        columns = ("table_name", "column_name", "type", "rows", "nulls", "distinct_values")
        formats = dict.fromkeys(("rows", "nulls", "distinct_values"), ",")
        output.show(output.Table.of(counted, columns, formats=formats), as_json=options_of(ctx).json)
    else:
        rows = [{"table": str(each.table), "why": _failed(each.error) or _waits(each)} for each in done]
        _show(ctx, rows, ("table", "why"))
    _raise_first(done)


def data_cleanup(ctx: typer.Context, tables: TABLES = None, everything: ALL = False, dry_run: DRY_RUN = False) -> None:
    """Expire, then vacuum, and remove what dead processes left in the project's temporary folder."""
    with lab_of(ctx) as lab:
        names = chosen(lab, tables, everything=everything)
        expired = list(expire_snapshots(lab, names, dry_run=dry_run))
        swept = list(remove_orphans(lab, names, dry_run=dry_run))
        left = remove_leftovers(lab, dry_run=dry_run)
    rows = [{"step": "expire", **_expiry(each)} for each in expired]
    rows += [{"step": "vacuum", **_vacuumed(each)} for each in swept]
    rows.append({"step": "temporary folders", "files": len(left), "why": "their processes are gone" if left else ""})
    _show(ctx, rows, ("step", "table", "expired", "needed", "files", "bytes", "why"))
    _raise_first([*expired, *swept])


def chosen(lab: Lab, tables: Sequence[str] | None, *, everything: bool) -> tuple[TableName, ...]:
    """The tables that are named, or all. InvalidName, TableNotFound; BadParameter for neither or both."""
    if bool(tables) == everything:
        raise typer.BadParameter("name tables, or say --all")
    names = tuple(TableName.parse(text) for text in tables or ())
    for name in names:
        lab.lake.require(name)
    return lab.tables() if everything else names


def _show(ctx: typer.Context, rows: list[dict[str, Any]], columns: Iterable[str]) -> None:
    output.show(output.Table.of(rows, tuple(columns), formats=_SIZES), as_json=options_of(ctx).json)


def _raise_first(done: Iterable[Compaction | Expiry | Vacuumed | Analyzed]) -> None:
    """After all tables had their turn: the first error decides the exit code."""
    error = next((each.error for each in done if each.error is not None), None)
    if error is not None:
        raise error


def _waits(each: Analyzed) -> str:
    return "would be counted" if each.waiting else "unchanged since it was counted"


def _failed(error: DataLabError | None) -> str:
    return f"failed: {error.message}" if error is not None else ""


def _compaction(done: Compaction) -> dict[str, Any]:
    reasons = sorted({group.reason for group in done.groups})
    return {
        "table": str(done.table),
        "files": len(done.removed),
        "bytes": sum(file.size for file in done.removed),
        "into": len(done.added) or None,
        "snapshot": done.snapshot if done.groups else None,
        "why": _failed(done.error) or done.problem or "; ".join(reasons) or "nothing to merge",
    }


def _expiry(done: Expiry) -> dict[str, Any]:
    needed = [each for each in done.verdicts if each.needed]
    reasons = list(dict.fromkeys(f"{each.snapshot.id}: {each.reason}" for each in needed))
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return {
        "table": str(done.table),
        "expired": len(done.expired),
        "kept": len(done.verdicts) - len(done.expired),
        "needed": len(needed),
        "files": len(done.files),
        "bytes": sum(file.size for file in done.files),
        "why": _failed(done.error) or "; ".join(reasons[:3]) + more,
    }


def _verdicts(done: Expiry) -> list[dict[str, Any]]:
    return [
        {"snapshot": each.snapshot.id, "at": each.snapshot.at, "stays": each.stays, "why": each.reason}
        for each in done.verdicts
    ]


def _vacuumed(done: Vacuumed) -> dict[str, Any]:
    return {
        "table": str(done.table),
        "files": len(done.files),
        "bytes": sum(file.size for file in done.files),
        "young": len(done.young),
        "why": _failed(done.error) or (f"{len(done.young)} files may belong to a writer at work" if done.young else ""),
    }
