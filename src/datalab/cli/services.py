"""`datalab services`: real servers on this machine, for projects that run on more than one process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from datalab.cli import output
from datalab.cli.configured import configuration_of
from datalab.cli.options import options_of
from datalab.cli.progress import progress
from datalab.events import Bus
from datalab.platform.services.control import Control, Status
from datalab.platform.services.describe import Service, find_service, known_services
from datalab.platform.services.processes import last_lines, log_path

app = typer.Typer(help="Run real servers on this machine without containers: Kafka, a schema registry.")
NAMES = Annotated[list[str], typer.Argument(help="Servers, as `datalab services list` names them.")]
SOME = Annotated[list[str] | None, typer.Argument(help="Servers; none: all that were started.")]
_PAUSE = 0.3


@app.command("list")
def list_services(ctx: typer.Context) -> None:
    """List the servers that can be run, and those that do."""
    rows = [_line(control, control.status()) for control in _controls(ctx, known_services().values())]
    output.show(output.Table.of(rows), as_json=options_of(ctx).json)


@app.command()
def start(ctx: typer.Context, names: NAMES) -> None:
    """Fetch servers where they are not there yet, start them on loopback, and wait until they answer."""
    bus = Bus()
    with progress(bus, quiet=options_of(ctx).quiet):
        rows = [_line(control, control.start(bus)) for control in _named(ctx, names)]
    output.show(output.Table.of(rows), as_json=options_of(ctx).json)


@app.command()
def stop(ctx: typer.Context, names: SOME = None) -> None:
    """End servers by their own process id, the last one first; what they keep stays."""
    chosen = _named(ctx, names) if names else _controls(ctx, known_services().values())
    rows = [{"service": control.service.name, "stopped": control.stop()} for control in reversed(chosen)]
    shown = rows if names else [row for row in rows if row["stopped"]]
    output.show(output.Table.of(shown, ("service", "stopped")), as_json=options_of(ctx).json)


@app.command()
def restart(ctx: typer.Context, names: NAMES) -> None:
    """Stop servers and start them again."""
    bus = Bus()
    with progress(bus, quiet=options_of(ctx).quiet):
        chosen = _named(ctx, names)
        for control in reversed(chosen):
            control.stop()
        rows = [_line(control, control.start(bus)) for control in chosen]
    output.show(output.Table.of(rows), as_json=options_of(ctx).json)


@app.command()
def logs(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A server.")],
    lines: Annotated[int, typer.Option("--lines", help="Lines to show, from the end.", min=0)] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until interrupted.")] = False,
) -> None:
    """Show what a server printed since it was started."""
    (control,) = _named(ctx, [name])
    found = last_lines(control.folder, lines)
    if options_of(ctx).json:
        output.show(found, as_json=True)
        return
    sys.stdout.writelines(f"{line}\n" for line in found)
    for text in _following(control) if follow else ():
        sys.stdout.write(text)
        sys.stdout.flush()


@app.command()
def health(ctx: typer.Context, names: SOME = None) -> None:
    """Ask servers whether they are well, and miss those that ended by themselves; exit code 1 where one is not well."""
    chosen = _named(ctx, names) if names else _controls(ctx, known_services().values())
    found = [(control, control.status()) for control in chosen]
    asked = [(control, status) for control, status in found if names or status.running or status.lost]
    rows = [
        {"service": status.service, "healthy": not status.problem, "problem": status.problem} for _, status in asked
    ]
    output.show(output.Table.of(rows, ("service", "healthy", "problem")), as_json=options_of(ctx).json)
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


def _named(ctx: typer.Context, names: list[str]) -> list[Control]:
    return _controls(ctx, [find_service(name) for name in dict.fromkeys(names)])


def _controls(ctx: typer.Context, services: Any) -> list[Control]:
    configuration = configuration_of(ctx)
    chosen: dict[str, Any] = {str(name): each.ports for name, each in configuration.settings.services.items()}
    for name in chosen:
        find_service(name)
    return [_control(service, configuration.folder, chosen.get(service.name, {})) for service in services]


def _control(service: Service, folder: Any, ports: Any) -> Control:
    return Control(service, folder, ports, os.environ)


def _line(control: Control, status: Status) -> dict[str, Any]:
    return {
        "service": status.service,
        "title": control.service.title,
        "state": _state(status),
        "pid": status.pid,
        "address": ", ".join(control.addresses.values()),
        "memory_mb": status.memory // 1_000_000 if status.running else None,
        "since": status.started_at or None,
    }


def _state(status: Status) -> str:
    if not status.running:
        return "ended" if status.lost else "stopped"
    return "unwell" if status.problem else "running"


def _following(control: Control) -> Iterator[str]:
    with log_path(control.folder).open(encoding="utf-8", errors="replace") as file:
        file.seek(0, os.SEEK_END)
        while True:
            text = file.read()
            if text:
                yield text
            time.sleep(_PAUSE)
