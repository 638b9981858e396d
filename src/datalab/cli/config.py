"""`datalab config`: what the settings are, where they came from, and whether they hold."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.configured import configuration_of
from datalab.cli.options import options_of
from datalab.errors import UnknownSetting
from datalab.platform.settings import Configuration, described, flattened, load, plain_credentials

app = typer.Typer(help="Show and check the settings of the project.")


@app.command()
def show(
    ctx: typer.Context,
    key: Annotated[str | None, typer.Argument(help="A setting, or a section such as lake; none: all.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Show where each value came from.")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Show what each setting means.")] = False,
) -> None:
    """Show the settings in force, one a line; credentials are hidden."""
    configuration = configuration_of(ctx)
    chosen = _chosen(configuration, key)
    columns = ["key", "value", *(["origin"] if origin else []), *(["description"] if describe else [])]
    rows = [
        {
            "key": name,
            "value": value,
            "origin": configuration.origins[name],
            "description": described(name),
        }
        for name, value in chosen.items()
    ]
    output.show(output.Table.of(rows, columns), as_json=options_of(ctx).json)


@app.command()
def check(ctx: typer.Context) -> None:
    """Check the settings in every environment; exit code 1 when a credential stands in them as text."""
    options = options_of(ctx)
    names = configuration_of(ctx).settings.environments if options.env is None else (options.env,)
    findings = [
        {"environment": name or "", "key": key, "origin": configuration.origins[key]}
        for name in ("", *names)
        for configuration in [load(options.folder, name, os.environ)]
        for key in plain_credentials(configuration)
    ]
    if options.json:
        output.show({"environments": list(names), "plain_credentials": findings}, as_json=True)
    elif findings:
        output.show(output.Table.of(findings, title="credentials written as text"), as_json=False)
        output.note("write secret:env/NAME or secret:file/NAME instead", quiet=options.quiet)
    else:
        output.show(f"the settings are sound in {', '.join(names) or 'the one environment'}", as_json=False)
    if findings:
        raise typer.Exit(1)


def _chosen(configuration: Configuration, key: str | None) -> dict[str, object]:
    settings = flattened(configuration)
    if key is None:
        return settings
    chosen = {name: value for name, value in settings.items() if f"{name}.".startswith(f"{key}.")}
    if not chosen:
        raise UnknownSetting(f"'{key}' is not a setting of this project", "datalab config show")
    return chosen
