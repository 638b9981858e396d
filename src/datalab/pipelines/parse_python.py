"""A `.py` pipeline file, run in a namespace of its own, to the same declarations as SQL."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from sqlglot import exp

from datalab.errors import DataLabError, InvalidName, InvalidSetting, PipelineError, PipelineSyntaxError
from datalab.lake.table import PartitionField
from datalab.names import TableName
from datalab.pipelines.cursor import Cursor
from datalab.pipelines.lex import Source
from datalab.pipelines.model import AutoCdc, Column, Constraint, Dataset, Flow, FlowKind, Origin
from datalab.pipelines.properties import wrong_name, wrong_value
from datalab.pipelines.python_form import Record, collecting, expectations_of
from datalab.pipelines.query import parse_condition, parse_query, parse_stream
from datalab.pipelines.statements_table import FORMATS, parse_elements

T = TypeVar("T")
Piece = tuple[Source, int, int]


def parse_python(source: Source) -> list[Dataset | Flow]:
    """Run the file and read what it declared. PipelineError with the line of the user's code that failed."""
    with collecting() as records:
        _calling(source, lambda: _execute(source))
        return [declared for record in records for declared in _declare(source, record)]


def _execute(source: Source) -> None:
    namespace = {"__name__": "datalab_pipeline", "__file__": source.file}
    exec(compile(source.text, source.file, "exec"), namespace)  # noqa: S102 - a pipeline file is the project's own code


def _calling(source: Source, call: Callable[[], T]) -> T:
    """Call into the user's code; whatever it raises becomes a PipelineError at the innermost line of the file."""
    try:
        return call()
    except SyntaxError as error:
        origin = Origin(source.file, error.lineno or 1, error.offset or 1)
        raise PipelineSyntaxError(f"{origin}: {error.msg}", "this is a Python error of the pipeline file") from error
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source.file]
        line = frames[-1].lineno if frames and frames[-1].lineno else 1
        text = error.message if isinstance(error, DataLabError) else f"{type(error).__name__}: {error}"
        hint = "the pipeline file raised this while it was read"
        raise PipelineError(f"{Origin(source.file, line)}: {text}", hint) from error


def _declare(source: Source, record: Record) -> Iterator[Dataset | Flow]:
    origin = Origin(source.file, record.line)
    if record.kind == "append_flow":
        target = _table(record.options["target"], origin)
        query, comment = _query(source, record), record.options["comment"]
        yield Flow(record.name.lower(), target, "append", query, origin, by_name=True, comment=comment)
    elif record.kind == "auto_cdc_flow":
        yield _cdc_flow(source, record, origin)
    elif record.kind == "temporary_view":
        comment = record.options["comment"]
        yield Dataset("temporary_view", origin, view=record.name.lower(), comment=comment, query=_query(source, record))
    else:
        yield from _table_and_flow(source, record, origin)


def _table_and_flow(source: Source, record: Record, origin: Origin) -> Iterator[Dataset | Flow]:
    name, options = _table(record.name, origin), record.options
    columns, from_schema = _schema(options.get("schema", ""), source, record)
    dataset = Dataset(
        "materialized_view" if record.kind == "materialized_view" else "streaming_table",
        origin,
        name,
        columns=columns,
        constraints=(*from_schema, *_constraints(source, record)),
        partition=tuple(_partition(text, origin) for text in _texts(options, "partition_by", origin)),
        cluster=_texts(options, "cluster_by", origin),
        comment=options.get("comment", ""),
        format=_format(options.get("format", ""), origin),
        properties=_properties(options.get("table_properties", {}), origin),
    )
    yield dataset
    if record.function is not None:
        kind: FlowKind = "materialize" if record.kind == "materialized_view" else "append"
        query = _query(source, record)
        yield Flow(str(name), name, kind, query, origin, by_name=True, comment=dataset.comment)


def _cdc_flow(source: Source, record: Record, origin: Origin) -> Flow:
    options = record.options
    scd_type = options.get("stored_as_scd_type", 1)
    if str(scd_type) not in ("1", "2"):
        raise PipelineError(f"{origin}: stored_as_scd_type is {scd_type!r}", "it is 1 (default) or 2")
    delete_when = options.get("apply_as_deletes", "")
    cdc = AutoCdc(
        _texts(options, "keys", origin),
        _expression(source, options["sequence_by"], record),
        delete_when=_expression(source, delete_when, record) if delete_when else None,
        columns=_texts(options, "column_list", origin),
        except_columns=_texts(options, "except_column_list", origin),
        scd_type=2 if str(scd_type) == "2" else 1,
        track_history=_texts(options, "track_history_column_list", origin),
        track_history_except=_texts(options, "track_history_except_column_list", origin),
    )
    query = parse_stream(*_generated(source, f"STREAM {options['source']}", record))
    target = _table(options["target"], origin)
    return Flow(record.name.lower(), target, "auto_cdc", query, origin, by_name=True, cdc=cdc)


def _query(source: Source, record: Record) -> exp.Query:
    function = record.function
    text = _calling(source, function) if function else ""
    if not isinstance(text, str):
        raise PipelineError(
            f"{Origin(source.file, record.line)}: {record.name} answered {type(text).__name__}, not a query",
            'return the query as SQL text: return "SELECT … FROM …"',
        )
    return parse_query(*_piece(source, text.strip().rstrip(";"), record))


def _expression(source: Source, text: str, record: Record) -> exp.Expression:
    return parse_condition(*_piece(source, text, record))


def _constraints(source: Source, record: Record) -> Iterator[Constraint]:
    origin = Origin(source.file, record.line)
    for expectation in expectations_of(record):
        condition = _expression(source, expectation.condition, record)
        yield Constraint(expectation.name, condition, expectation.action, origin)


def _schema(text: str, source: Source, record: Record) -> tuple[tuple[Column, ...], tuple[Constraint, ...]]:
    if not text:
        return (), ()
    generated, _, _ = _generated(source, f"({text})", record)
    return parse_elements(Cursor(generated))


def _piece(source: Source, text: str, record: Record) -> Piece:
    """Where a text of the user stands in the file, if it stands there as it is; else at the declaration's line."""
    from_line = sum(len(line) for line in source.text.splitlines(keepends=True)[: record.line - 1])
    found = source.text.find(text, from_line) if text else -1
    return (source, found, found + len(text)) if found >= 0 else _generated(source, text, record)


def _generated(source: Source, text: str, record: Record) -> Piece:
    padded = "\n" * (record.line - 1) + text
    return Source(source.file, padded), record.line - 1, len(padded)


def _texts(options: Mapping[str, Any], key: str, origin: Origin) -> tuple[str, ...]:
    value = options.get(key, ())
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise PipelineError(f"{origin}: {key} is {value!r}", f'write a list of names: {key}=["a", "b"]')
    return tuple(value)


def _partition(text: str, origin: Origin) -> PartitionField:
    try:
        return PartitionField.parse(text)
    except InvalidSetting as error:
        raise PipelineError(f"{origin}: {error.message}", error.hint) from error


def _format(text: str, origin: Origin) -> str:
    if text and text not in FORMATS:
        raise PipelineError(f"{origin}: '{text}' is not a table format", f"one of {', '.join(FORMATS)}")
    return text


def _properties(given: object, origin: Origin) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise PipelineError(f"{origin}: table_properties is {given!r}", 'write a mapping: {"name": "value"}')
    found = {str(name): str(value) for name, value in given.items()}
    for name, value in found.items():
        if wrong := wrong_name(name) or wrong_value(name, value):
            raise PipelineError(f"{origin}: {wrong[0]}", wrong[1])
    return found


def _table(text: str, origin: Origin) -> TableName:
    try:
        return TableName.parse(text.lower())
    except InvalidName as error:
        raise PipelineError(f"{origin}: {error.message}", error.hint) from error
