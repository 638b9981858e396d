"""Pipeline files to declarations: SQL and Python files alike, every name once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datalab.errors import PipelineError, PipelineSyntaxError
from datalab.pipelines.lex import Source
from datalab.pipelines.model import Dataset, Declarations, Flow, Origin
from datalab.pipelines.parse_python import parse_python
from datalab.pipelines.statements import Setting, Statement, parse_statements


def parse_sql(text: str, file: str) -> Declarations:
    """The declarations of one SQL text; `file` is how messages name it. PipelineSyntaxError, UnsupportedStatement."""
    return _gather(parse_statements(Source(file, text)))


def parse_files(paths: Iterable[Path], root: Path) -> Declarations:
    """The declarations of `.sql` and `.py` files, in order; messages show paths relative to `root`."""
    return _gather(statement for path in paths for statement in _parse_file(path, root))


def _parse_file(path: Path, root: Path) -> Iterable[Statement]:
    file = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineSyntaxError(f"{file}:1:1: the file cannot be read: {error}", "save it as UTF-8 text") from error
    source = Source(file, text)
    return parse_python(source) if path.suffix == ".py" else parse_statements(source)


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
