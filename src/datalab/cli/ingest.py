"""`datalab ingest`: take in records of the sources, once or without end."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.cli.run import perform, tell_topics
from datalab.errors import InvalidSetting
from datalab.names import TableName
from datalab.platform.follow import Following, follow
from datalab.platform.pulse import beating
from datalab.platform.wish import Wish

app = typer.Typer()


@app.command()
def ingest(
    ctx: typer.Context,
    tables: Annotated[list[str] | None, typer.Argument(help="Bronze tables to feed; none: all sources.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Take in what is there now, then end (the default).")] = False,
    follow_on: Annotated[bool, typer.Option("--follow", help="Go on until SIGTERM or SIGINT.")] = False,
    until_lag_zero: Annotated[
        bool, typer.Option("--until-lag-zero", help="Go on, through outages too, until nothing is left.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="With --follow: answer /metrics and /health on this port of loopback.", min=1, max=65_535),
    ] = None,
) -> None:
    """Take in new records of the sources, once or without end; no flow runs."""
    if once + follow_on + until_lag_zero > 1:
        raise InvalidSetting("--once, --follow and --until-lag-zero exclude each other", "choose one")
    if metrics_port is not None and not (follow_on or until_lag_zero):
        raise InvalidSetting("--metrics-port goes with --follow", "datalab ingest --follow --metrics-port N")
    wanted = tuple(map(TableName.parse, tables or []))
    if follow_on or until_lag_zero:
        _follow(ctx, wanted, until_none=until_lag_zero, port=metrics_port)
    else:
        perform(ctx, Wish(wanted, flows=False))


def _follow(ctx: typer.Context, wanted: tuple[TableName, ...], *, until_none: bool, port: int | None) -> None:
    options = options_of(ctx)

    with lab_of(ctx) as lab:
        tell_topics(lab.bus, quiet=options.quiet)
        feeds = lab.feeds_of(wanted)
        previous = {
            each: signal.signal(each, lambda *_: lab.stopping.set()) for each in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            seconds = float(lab.configuration.settings.kafka.commit_seconds)
            way = Following(lab.stopping, seconds, until_none, lab.send_dead_letters)
            with beating(lab.configuration, lab.bus, [(feed.name, feed.target) for feed in feeds], port):
                found = follow(feeds, lab.context, way, lab.bus)
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)
    rows = [{**vars(each), "table": str(each.table), "paused": round(each.paused, 1)} for each in found]
    formats = dict.fromkeys(("commits", "read", "written", "quarantined"), ",")
    output.show(output.Table.of(rows, title="taken in", formats=formats), as_json=options.json)
