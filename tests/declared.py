"""Declarations of pipelines, from a text or from files, as a project would read them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datalab.pipelines.lex import Source
from datalab.pipelines.model import Declarations
from datalab.pipelines.parse import parse_sources, read_source


def parse_sql(text: str, file: str) -> Declarations:
    """One SQL text; `file` is how messages name it, with a suffix that is not Python's."""
    return parse_sources([Source(file, text)])


def parse_files(paths: Iterable[Path], root: Path) -> Declarations:
    """Messages show paths relative to `root`."""
    return parse_sources(read_source(path, root) for path in paths)
