"""`datalab serve`: the scoring API."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.options import options_of
from datalab.events import Bus
from datalab.observability.logs import JsonLog
from datalab.platform.serving import flush_command
from datalab.platform.serving import serve as run_server
from datalab.platform.settings import load

app = typer.Typer()


@app.command()
def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on, instead of serving.host.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port, instead of serving.port.", min=1, max=65_535)
    ] = None,
    flush: Annotated[bool, typer.Option("--flush/--no-flush", help="Take the score log to the lake meanwhile.")] = True,
) -> None:
    """Serve scores over HTTP: the live model, its features, every answer recorded."""
    options = options_of(ctx)
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    configuration = load(options.folder, options.env, os.environ, {"serving": given} if given else None)
    bus = Bus()
    bus.subscribe(JsonLog(sys.stderr))
    command = flush_command(configuration) if flush else ()

    def tell(url: str) -> None:
        output.note(f"{url}/docs", quiet=options.quiet)

    run_server(configuration, os.environ, bus, listening=tell, flusher=command)
