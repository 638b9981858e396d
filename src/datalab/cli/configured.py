"""The project's configuration, as the options of a call and the environment say."""

from __future__ import annotations

import os

import typer

from datalab.cli.options import options_of
from datalab.platform.settings import Configuration, load


def configuration_of(ctx: typer.Context) -> Configuration:
    """The configuration of the project that the call is about; ConfigError."""
    options = options_of(ctx)
    return load(options.folder, options.env, os.environ)
