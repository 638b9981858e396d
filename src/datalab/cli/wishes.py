"""Arguments that say what to run, the same for every command that plans or runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from datalab.names import TableName
from datalab.platform.wish import Wish

TABLES = Annotated[
    list[str] | None, typer.Argument(help="Tables to bring up to date, with all before them; none: everything.")
]
FULL_REFRESH = Annotated[
    bool, typer.Option("--full-refresh", help="Compute the named tables (none: all that flows make) from scratch.")
]
VERBOSE = Annotated[bool, typer.Option("--verbose", help="Say what happens while it happens.")]


def wish_of(tables: Sequence[str], *, full_refresh: bool = False) -> Wish:
    """What the arguments ask for. InvalidName."""
    names = tuple(TableName.parse(text) for text in tables)
    if not full_refresh:
        return Wish(names)
    return Wish(names, frozenset(names), refresh_all=not names)
