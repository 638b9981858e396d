"""The command `datalab`: finds the command, loads its module, and turns what it raises into words and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from datalab import __version__, plugins
from datalab.cli.collector import seldom
from datalab.cli.commands import COMMANDS
from datalab.cli.failures import OK, report
from datalab.cli.options import add_options
from datalab.cli.signals import listen, received
from datalab.cli.streams import prepare

_ENTRIES = {entry.name: entry for entry in COMMANDS}


class ReaderGone(Exception):
    """Whoever read our output has stopped; Typer would end the process with the code of a finding."""


class LazyGroup(TyperGroup):
    """Lists commands by their lines in the table; imports a command's module when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {entry.name: TyperCommand(entry.name, help=entry.summary) for entry in COMMANDS}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command behind the line."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in _ENTRIES else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command and write out what it printed; ReaderGone."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error
        return answer


def load_command(name: str) -> Any:
    """The command with everything inside it, its module imported."""
    entry = _ENTRIES[name]
    app = plugins.load(f"{entry.module}:app")
    command: Any = typer.main.get_group(app) if entry.group else typer.main.get_command(app)
    command.name = name
    command.params = [param for param in command.params if "completion" not in (param.name or "")]
    return add_options(command)


def root_command() -> Any:
    """The command `datalab` itself."""
    return add_options(typer.main.get_command(app))


def execute(args: Sequence[str]) -> int:
    """Run one command line; answers its exit code. Nothing is raised but what ends the process on purpose."""
    as_json, debug = "--json" in args, "--debug" in args
    try:
        answer = root_command().main(args=[*args] or ["--help"], prog_name="datalab", standalone_mode=False)
    except ReaderGone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, typer.Abort):
        return 128 + (received() or signal.SIGINT)
    except Exception as error:  # noqa: BLE001 - the last door: a person must get words, not a traceback
        number = received()
        return 128 + number if number else report(error, as_json=as_json, debug=debug)
    return answer if isinstance(answer, int) else OK


def main() -> None:
    """Entry point of the script."""
    prepare()
    listen()
    with seldom():
        sys.exit(execute(sys.argv[1:]))


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"datalab {__version__}")
        raise typer.Exit


app = typer.Typer(cls=LazyGroup, rich_markup_mode="rich")


@app.callback()
def datalab(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A lakehouse and MLOps platform: files in, bronze, silver and gold out, every number traceable."""
