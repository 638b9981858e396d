"""`datalab keys`: who may call the API."""

from __future__ import annotations

from typing import Annotated

import typer

from datalab.cli import output
from datalab.cli.configured import configuration_of
from datalab.cli.options import options_of
from datalab.platform.serving import wire_keys

app = typer.Typer(help="Create, list and revoke API keys.")
_SHOWN = ("id", "name", "role", "created_at", "revoked_at")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Who the key is for.")],
    role: Annotated[str, typer.Option("--role", help="score, ingest, read or admin.")] = "score",
) -> None:
    """Create an API key. It is shown now and never again: only its hash is kept."""
    options = options_of(ctx)
    key, text = wire_keys(configuration_of(ctx)).create(name, role)
    if options.json:
        output.show({"id": key.id, "name": key.name, "role": key.role, "key": text}, as_json=True)
        return
    output.show(text, as_json=False)
    output.note(f"key {key.id} of role {key.role}; it is not shown again", quiet=options.quiet)


@app.command("list")
def list_keys(ctx: typer.Context) -> None:
    """List the keys: id, name, role, when created and revoked; never a key itself."""
    keys = wire_keys(configuration_of(ctx)).all()
    rows = [{name: getattr(key, name) for name in _SHOWN} for key in keys]
    output.show(output.Table.of(rows, _SHOWN), as_json=options_of(ctx).json)


@app.command()
def revoke(ctx: typer.Context, key: Annotated[str, typer.Argument(help="The id of a key.")]) -> None:
    """Revoke a key; a running server refuses it within seconds."""
    revoked = wire_keys(configuration_of(ctx)).revoke(key)
    output.show(
        {"id": revoked.id, "name": revoked.name, "revoked_at": revoked.revoked_at}, as_json=options_of(ctx).json
    )
