"""`datalab data simulate`: test data for the sources of a project, into landing folders or into topics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from datalab.cli import output
from datalab.cli.configured import configuration_of
from datalab.cli.options import options_of
from datalab.cli.progress import progress
from datalab.errors import InvalidSetting
from datalab.events import Bus
from datalab.platform.simulate import Shares, share, simulate_project
from datalab.platform.simulate_stream import Wanted, simulate_to_kafka

app = typer.Typer()
_ROWS = 20_000


@app.command()
def simulate(
    ctx: typer.Context,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Records to make: 20,000, or what --rate and --duration give.")
    ] = None,
    bad: Annotated[str, typer.Option("--bad", help="Share of records that are broken or impossible.")] = "0.5%",
    late: Annotated[str, typer.Option("--late", help="Share that arrives long after it happened.")] = "2%",
    duplicates: Annotated[str, typer.Option("--duplicates", help="Share that is delivered again.")] = "1%",
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")] = 42,
    files: Annotated[int | None, typer.Option("--files", min=1, help="Files to spread them over.")] = None,
    ledger: Annotated[Path | None, typer.Option("--ledger", help="Also write what was produced, per record.")] = None,
    source: Annotated[
        Path | None, typer.Option("--source", help="A file of real data, where the simulator takes one.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="files: landing folders; kafka: topics of the sources.")] = "files",
    rate: Annotated[int, typer.Option("--rate", min=0, help="Kafka: records a second; 0: as fast as taken.")] = 0,
    duration: Annotated[
        int | None, typer.Option("--duration", min=1, help="Kafka: seconds to send at --rate, instead of --rows.")
    ] = None,
    evolve_at: Annotated[
        str | None,
        typer.Option("--evolve-at", help="Kafka: share of records after which the schema has a new field."),
    ] = None,
    partitions: Annotated[int, typer.Option("--partitions", min=1, help="Kafka: of topics that are made.")] = 4,
) -> None:
    """Make test data for the project's sources with its own simulator."""
    shares = Shares.parse(bad=bad, late=late, duplicates=duplicates)
    if to not in {"files", "kafka"}:
        raise InvalidSetting(f"--to {to} is nothing to simulate for", "write files or kafka")
    if to == "files":
        extras = {"files": files, "ledger": ledger, "source": source}
        given = {name: value for name, value in extras.items() if value is not None}
        summary: Any = simulate_project(configuration_of(ctx), rows or _ROWS, shares, seed, given)
    else:
        evolved = share("--evolve-at", evolve_at) if evolve_at is not None else None
        wanted = Wanted(_rows(rows, rate, duration), shares, seed, rate, evolved, partitions)
        bus = Bus()
        with progress(bus, quiet=options_of(ctx).quiet):
            summary = simulate_to_kafka(configuration_of(ctx), wanted, ledger, os.environ, bus)
    output.show(summary, as_json=options_of(ctx).json)


def _rows(rows: int | None, rate: int, duration: int | None) -> int:
    if duration is None:
        return rows or _ROWS
    if rows is not None or not rate:
        raise InvalidSetting("--duration goes with --rate, and without --rows", "--rate 5000 --duration 60")
    return rate * duration
