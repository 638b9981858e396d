"""Pipeline files to declarations: SQL and Python files alike, every name once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datalab.errors import PipelineError, PipelineSyntaxError
from datalab.pipelines.lex import Source
from datalab.pipelines.model import Dataset, Declarations, Flow, Origin
from datalab.pipelines.parse_python import parse_python
from datalab.pipelines.statements import Setting, Statement, parse_statements

_PYTHON = ".py"


def parse_sources(sources: Iterable[Source]) -> Declarations:
    """The declarations of files that were read, in order. PipelineSyntaxError, UnsupportedStatement."""
    return _gather(statement for source in sources for statement in _parsed(source))


def is_text(source: Source) -> bool:
    """Whether a file declares the same whenever it is parsed; a Python file is run, and may look around."""
    return not source.file.endswith(_PYTHON)


def read_source(path: Path, root: Path) -> Source:
    """A pipeline file as it is now. PipelineSyntaxError."""
    file = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineSyntaxError(f"{file}:1:1: the file cannot be read: {error}", "save it as UTF-8 text") from error
    return Source(file, text)


def _parsed(source: Source) -> Iterable[Statement]:
    return parse_statements(source) if is_text(source) else parse_python(source)


def _gather(statements: Iterable[Statement]) -> Declarations:
    datasets: dict[str, Dataset] = {}
    flows: dict[str, Flow] = {}
    settings: dict[str, Setting] = {}
    for statement in statements:
        if isinstance(statement, Dataset):
            name = str(statement.name or statement.view)
            _once(datasets.setdefault(name, statement), statement, name)
        elif isinstance(statement, Flow):
            _once(flows.setdefault(statement.name, statement), statement, f"flow {statement.name}")
        elif settings.setdefault(statement.key, statement).value != statement.value:
            raise _declared_twice(f"SET {statement.key}", statement.origin, settings[statement.key].origin)
    values = {setting.key: setting.value for setting in settings.values()}
    return Declarations(tuple(datasets.values()), tuple(flows.values()), values)


def _once(first: Dataset | Flow, declared: Dataset | Flow, name: str) -> None:
    if first is not declared:
        raise _declared_twice(name, declared.origin, first.origin)


def _declared_twice(name: str, second: Origin, first: Origin) -> PipelineError:
    return PipelineError(
        f"{second}: {name} is declared twice; the first time in {first}", "remove or rename one of the two"
    )
