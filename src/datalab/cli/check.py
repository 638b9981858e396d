"""`datalab check`: everything that can be wrong before anything runs."""

from __future__ import annotations

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of

app = typer.Typer()


@app.command()
def check(ctx: typer.Context) -> None:
    """Check settings, contracts and pipelines: names, circles, types, functions. Nothing is written."""
    with lab_of(ctx) as lab:
        graph, feeds = lab.graph, lab.feeds
    answer = {
        "sources": len(feeds),
        "tables": len(graph.datasets),
        "flows": len(graph.flows),
        "constraints": sum(len(dataset.constraints) for dataset in graph.datasets.values()),
    }
    if options_of(ctx).json:
        output.show(answer, as_json=True)
        return
    output.show("sound: " + ", ".join(f"{count} {what}" for what, count in answer.items()), as_json=False)
