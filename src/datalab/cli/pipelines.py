"""`datalab pipelines`: the flows of the project, what they make, and how they stand."""

from __future__ import annotations

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.run import perform
from datalab.cli.wishes import FULL_REFRESH, TABLES, VERBOSE, wish_of
from datalab.lake.lake import Lake
from datalab.pipelines.graph import FlowNode

app = typer.Typer(help="List, run and watch the flows of the project.")


@app.command("list")
def list_flows(ctx: typer.Context) -> None:
    """List every flow: the table it makes, how, from what, and where it is declared."""
    with lab_of(ctx) as lab:
        rows = [_flow(node) for node in lab.graph.flows]
    columns = ("table", "flow", "kind", "reads", "constraints", "declared")
    output.show(output.Table.of(rows, columns), as_json=options_of(ctx).json)


@app.command()
def run(
    ctx: typer.Context,
    tables: TABLES = None,
    full_refresh: FULL_REFRESH = False,
    verbose: VERBOSE = False,
) -> None:
    """Bring tables up to date without taking in new source records."""
    wish = wish_of(tables or [], full_refresh=full_refresh)
    perform(ctx, wish.without_ingest(), verbose=verbose)


@app.command()
def status(ctx: typer.Context) -> None:
    """Show for every flow its last commit and whether there is something to do."""
    with lab_of(ctx) as lab:
        steps = {step.flow: step for step in lab.plan(wish_of([]).without_ingest())}
        rows = [{**_standing(lab.lake, node), "next": steps[node.flow.name].kind} for node in lab.graph.flows]
    columns = ("table", "flow", "rows", "last_commit", "run", "read", "written", "quarantined", "next")
    formats = dict.fromkeys(("rows", "read", "written", "quarantined"), ",")
    output.show(output.Table.of(rows, columns, formats=formats), as_json=options_of(ctx).json)


def _flow(node: FlowNode) -> dict[str, object]:
    return {
        "table": str(node.flow.target),
        "flow": node.flow.name,
        "kind": node.flow.kind,
        "reads": ", ".join(f"{'STREAM ' if read.stream else ''}{read.table}" for read in node.inputs),
        "constraints": len(node.dataset.constraints),
        "declared": str(node.flow.origin),
    }


def _standing(lake: Lake, node: FlowNode) -> dict[str, object]:
    state = lake.state(node.flow.target)
    history = lake.history(state) if state else ()
    own = [s for s in history if s.provenance and s.provenance.flow == node.flow.name]
    record: dict[str, object] = {"table": str(node.flow.target), "flow": node.flow.name}
    if history:
        record["rows"] = history[-1].rows_total
    if own and own[-1].provenance:
        last = own[-1].provenance
        record |= {"last_commit": own[-1].at, "run": last.run_id, "read": last.read}
        record |= {"written": last.written, "quarantined": last.quarantined}
    return record
