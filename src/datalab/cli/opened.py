"""The project behind a command: opened from the command's options, its progress shown, closed in every case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from datalab.cli.configured import configuration_of
from datalab.cli.options import options_of
from datalab.cli.progress import progress
from datalab.platform.lab import Lab


@contextmanager
def lab_of(ctx: typer.Context) -> Iterator[Lab]:
    """The project of this call, a progress bar on its events. ConfigError and its kinds."""
    with Lab(configuration_of(ctx)) as lab, progress(lab.bus, quiet=options_of(ctx).quiet):
        yield lab
