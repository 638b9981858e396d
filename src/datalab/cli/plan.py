"""`datalab plan`: what a run would do, and why."""

from __future__ import annotations

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.run import files_ignored, tell_ignored
from datalab.cli.wishes import FULL_REFRESH, TABLES, wish_of
from datalab.pipelines.steps import Step

app = typer.Typer()


@app.command()
def plan(ctx: typer.Context, tables: TABLES = None, full_refresh: FULL_REFRESH = False) -> None:
    """Show what a run would do now and why; nothing is written."""
    with lab_of(ctx) as lab:
        ignored = files_ignored(lab.bus)
        steps = lab.plan(wish_of(tables or [], full_refresh=full_refresh))
    tell_ignored(ignored)
    if options_of(ctx).json:
        output.show([step.to_dict() for step in steps], as_json=True)
        return
    rows = [
        {
            "table": str(step.target),
            "step": "refused" if step.conflict else step.kind,
            "why": step.reason.removeprefix(f"{step.target}: "),
            "reads": "; ".join(str(part) for part in step.inputs),
        }
        for step in steps
    ]
    output.show(output.Table.of(rows, ("table", "step", "why", "reads")), as_json=False)
    output.note(_summary(steps), quiet=options_of(ctx).quiet)


def _summary(steps: tuple[Step, ...]) -> str:
    todo = sum(step.kind != "skip" for step in steps)
    return f"{todo} of {len(steps)} steps have something to do; datalab run does it" if todo else "nothing to do"
