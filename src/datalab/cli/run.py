"""`datalab run`: sources and flows, as far as something changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.wishes import FULL_REFRESH, TABLES, VERBOSE, wish_of
from datalab.errors import DataLabError, RunFailed
from datalab.events import Bus, Event, SourceFileIgnored
from datalab.observability.console import Narrator, about_topics
from datalab.platform.wish import Wish

if TYPE_CHECKING:
    from datalab.pipelines.records import RunRecord
    from datalab.pipelines.run import StepResult

app = typer.Typer()
_COUNTS = ("read", "written", "quarantined", "superseded")


@app.command()
def run(
    ctx: typer.Context,
    tables: TABLES = None,
    full_refresh: FULL_REFRESH = False,
    verbose: VERBOSE = False,
) -> None:
    """Take in new source records and bring the tables up to date, as far as something changed."""
    perform(ctx, wish_of(tables or [], full_refresh=full_refresh), verbose=verbose)


def perform(ctx: typer.Context, wish: Wish, *, verbose: bool = False) -> RunRecord:
    """Run what was wished for and show how each step ended; RunFailed if one did not end well."""
    options = options_of(ctx)
    with lab_of(ctx) as lab:
        tell_topics(lab.bus, quiet=options.quiet)
        if verbose:
            lab.bus.subscribe(Narrator(lambda sentence: output.note(sentence, quiet=options.quiet)))
        ignored = files_ignored(lab.bus)
        record = lab.run(wish)
    if options.json:
        output.show(as_record(record, ignored), as_json=True)
    else:
        show_record(record)
        tell_ignored(ignored)
    if record.failed:
        raise _failure(record)
    return record


def files_ignored(bus: Bus) -> list[SourceFileIgnored]:
    """A list that fills with the files that sources do not take, each once however often it is said."""
    told: list[SourceFileIgnored] = []

    def note(event: Event) -> None:
        if isinstance(event, SourceFileIgnored) and _what(event) not in map(_what, told):
            told.append(event)

    bus.subscribe(note)
    return told


def tell_topics(bus: Bus, *, quiet: bool) -> None:
    """Say what topics do that nobody may overlook, as it happens."""

    def tell(event: Event) -> None:
        words = about_topics(event)
        if words:
            output.note(words, quiet=quiet)

    bus.subscribe(tell)


def tell_ignored(ignored: list[SourceFileIgnored]) -> None:
    """Say on stderr which files were not taken, even where notes are not wanted: data is missing."""
    for event in ignored:
        output.note(f"not taken: {event.file} of {event.source}: {event.reason}", quiet=False)


def show_record(record: RunRecord) -> None:
    """The run as a table, or one sentence where nothing was to be done."""
    if record.status == "nothing_to_do":
        output.show(f"nothing to do: {len(record.results)} steps, no input changed", as_json=False)
        return
    rows = [_row(result) for result in record.results]
    title = f"run {record.run_id}: {record.status}"
    output.show(output.Table.of(rows, title=title, formats=dict.fromkeys(_COUNTS, ",")), as_json=False)


def as_record(record: RunRecord, ignored: list[SourceFileIgnored]) -> dict[str, Any]:
    """The run as plain values."""
    return {
        "run_id": record.run_id,
        "status": record.status,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "steps": [{**_row(result), "flow": result.step.flow, "checks": _checks(result)} for result in record.results],
        "ignored": [{"source": event.source, "file": event.file, "reason": event.reason} for event in ignored],
    }


def _row(result: StepResult) -> dict[str, Any]:
    error = f": {_said(result)}" if result.error is not None else ""
    return {
        "table": str(result.step.target),
        "step": result.step.kind,
        "status": result.status,
        **{name: result.outcome.counts[name] for name in _COUNTS},
        "seconds": round(result.seconds, 2),
        "why": result.step.reason.removeprefix(f"{result.step.target}: ") + error,
    }


def _what(event: SourceFileIgnored) -> tuple[str, str, str]:
    return event.source, event.file, event.reason


def _said(result: StepResult) -> str:
    """The error without the table's name, which stands beside it."""
    return str(result.error).removeprefix(f"{result.step.target}: ")


def _checks(result: StepResult) -> list[dict[str, Any]]:
    return [vars(check) for check in result.outcome.checks]


def _failure(record: RunRecord) -> RunFailed:
    causes = [result for result in record.failed if result.error is not None]
    words = "; ".join(f"{result.step.target}: {_said(result)}" for result in causes)
    hint = next((r.error.hint for r in causes if isinstance(r.error, DataLabError) and r.error.hint), "")
    failure = RunFailed(f"{len(causes)} of {len(record.results)} steps failed: {words}", hint)
    failure.__cause__ = causes[0].error if causes else None
    return failure
