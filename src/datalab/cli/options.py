"""The options that every command has, wherever they stand on the line: --env --project --json --quiet --debug."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from datalab.platform.project import find_project, open_project

_META = "datalab.options"
_PANEL = "Options of every command"


@dataclass(frozen=True)
class Options:
    """What the user said about the command line itself."""

    env: str | None = None
    project: Path | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False

    @property
    def folder(self) -> Path:
        """The project's folder; ProjectNotFound."""
        return find_project(Path.cwd()) if self.project is None else open_project(self.project)


def options_of(ctx: typer.Context) -> Options:
    """The options of this call."""
    return Options(**ctx.meta.get(_META, {}))


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    if value:
        ctx.meta.setdefault(_META, {})[param.name] = value
    return value


def _option(*names: str, text: str) -> Any:
    return typer.Option(*names, help=text, callback=_remember, expose_value=False, rich_help_panel=_PANEL)


def _declared(
    env: Annotated[str | None, _option("--env", text="Environment of the project, an overlay.")] = None,
    project: Annotated[Path | None, _option("--project", text="Folder of the project.")] = None,
    json: Annotated[bool, _option("--json", text="Answer in JSON, for programs.")] = False,
    quiet: Annotated[bool, _option("--quiet", text="Only the answer: no progress, no notes.")] = False,
    debug: Annotated[bool, _option("--debug", text="Show the traceback of an error.")] = False,
) -> None:
    """Carries the declarations of the options; never called."""


def add_options(command: Any) -> Any:
    """The same command, and all commands inside it, with the options of every command."""
    own = {name for param in command.params for name in param.opts}
    command.params = [*command.params, *(param for param in _common() if not own.intersection(param.opts))]
    for inner in getattr(command, "commands", {}).values():
        add_options(inner)
    return command


@cache
def _common() -> tuple[Any, ...]:
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_declared)
    return tuple(typer.main.get_command(carrier).params)
