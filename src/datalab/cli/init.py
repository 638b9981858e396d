"""`datalab init`: a new project from a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.options import options_of
from datalab.errors import ConfigError
from datalab.platform.project import create_project, templates

app = typer.Typer()


@app.command()
def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of the new project; it must be new or empty.")],
    template: Annotated[str, typer.Option("--template", help="agro, stocks or minimal.")] = "minimal",
) -> None:
    """Start a project in a new folder from a template."""
    known = templates()
    if template not in known:
        raise ConfigError(f"no template '{template}'", f"--template {' | '.join(known)}")
    create_project(known[template], folder)
    options = options_of(ctx)
    if options.json:
        output.show({"project": str(folder.resolve()), "template": template}, as_json=True)
        return
    output.show(f"{folder} holds a project now, from the template '{template}'", as_json=False)
    output.note(f"next: cd {folder} && cat README.md", quiet=options.quiet)
