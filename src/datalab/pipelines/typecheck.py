"""Types of all queries before anything runs: the engine binds each flow against the schemas of what it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Engine, Query
from datalab.errors import PipelineTypeError, UnknownTable
from datalab.lake.table import Relation
from datalab.names import VERSION_COLUMNS, TableName, is_internal
from datalab.pipelines.graph import FlowNode, Graph
from datalab.pipelines.model import AutoCdc, Column, Constraint, Dataset, Origin

Schemas = Mapping[TableName, pa.Schema]

_NOW = datetime(2000, 1, 1, tzinfo=UTC)
_ROWS = "rows_to_check"
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


def check_types(graph: Graph, engine: Engine, schemas: Schemas) -> dict[TableName, pa.Schema]:
    """The schema of every declared table. `schemas` has those of the tables that no flow makes.

    PipelineTypeError and UntranslatableFunction name file, line and column; nothing is read or written.
    """
    known = dict(schemas)
    checked: dict[TableName, pa.Schema] = {}
    for node in graph.flows:
        target = node.flow.target
        schema = _flow_schema(node, engine, known)
        if target in checked:
            _same_schema(node, schema, checked[target])
            continue
        checked[target] = known[target] = _declared(node, schema, engine)
        _check_dataset(node.dataset, checked[target], engine)
    return checked


def _flow_schema(node: FlowNode, engine: Engine, schemas: Schemas) -> pa.Schema:
    for read in node.inputs:
        if read.table not in schemas:
            raise UnknownTable(f"{read.origin}: the columns of {read.table} are not known", "is its contract declared?")
    relations = {str(read.table): Relation(schemas[read.table]) for read in node.inputs}
    _check_names(node.query.named_selects, node.flow.origin)
    schema = _ask(engine, node.query, relations, node.flow.origin)
    _check_names(schema.names, node.flow.origin)
    return _cdc_schema(node, node.flow.cdc, schema, engine) if node.flow.cdc else schema


def _cdc_schema(node: FlowNode, cdc: AutoCdc, schema: pa.Schema, engine: Engine) -> pa.Schema:
    origin = node.flow.origin
    for clause, names in (("COLUMNS", cdc.columns), ("COLUMNS * EXCEPT", cdc.except_columns), ("KEYS", cdc.keys)):
        _check_columns(clause, names, schema.names, origin)
    left_out = {name.lower() for name in cdc.except_columns}
    kept = {name.lower() for name in cdc.columns} or {name.lower() for name in schema.names}
    result = pa.schema([column for column in schema if column.name.lower() in kept - left_out])
    _check_columns("KEYS", cdc.keys, result.names, origin)
    _check_columns("TRACK HISTORY", (*cdc.track_history, *cdc.track_history_except), result.names, origin)
    sequence = _expression_type(engine, cdc.sequence_by, schema, origin)
    if cdc.scd_type == 2:
        result = pa.schema([*result, *(pa.field(name, sequence) for name in VERSION_COLUMNS)])
    if cdc.delete_when is not None:
        _check_boolean(engine, cdc.delete_when, schema, origin, "APPLY AS DELETE WHEN")
    return result


def _declared(node: FlowNode, schema: pa.Schema, engine: Engine) -> pa.Schema:
    """The columns as the table declares them, where it does; else those of its first flow."""
    dataset = node.dataset
    if not dataset.columns:
        return schema
    found = {column.name.lower(): column for column in schema}
    declared = [column.name for column in dataset.columns]
    named = {*map(str.lower, declared), *VERSION_COLUMNS}
    surplus = [column.name for column in schema if column.name.lower() not in named]
    _check_columns("the table's columns", declared, schema.names, dataset.origin)
    if surplus:
        raise PipelineTypeError(
            f"{node.flow.origin}: the query answers {', '.join(surplus)}, which {dataset.name} does not declare",
            "declare the columns, or leave them out of the query",
        )
    columns = [_column(column, found[column.name.lower()], dataset, engine) for column in dataset.columns]
    versions = [found[name] for name in VERSION_COLUMNS if name in found and name not in map(str.lower, declared)]
    return pa.schema([*columns, *versions])


def _column(column: Column, found: pa.Field[pa.DataType], dataset: Dataset, engine: Engine) -> pa.Field[pa.DataType]:
    if not column.type:
        return pa.field(column.name, found.type)
    typed = exp.cast(exp.null(), column.type, dialect="spark")
    (declared,) = _ask(engine, exp.select(exp.alias_(typed, column.name, quoted=True)), {}, dataset.origin)
    if not _fits(found.type, declared.type):
        raise PipelineTypeError(
            f"{dataset.origin}: {dataset.name}.{column.name} is declared {column.type}, its query answers {found.type}",
            f"write CAST(… AS {column.type}) AS {column.name} in the query, or change the declaration",
        )
    return pa.field(column.name, declared.type)


def _fits(found: pa.DataType, declared: pa.DataType) -> bool:
    """Whether every value of one type is a value of the other."""
    if found == declared or pa.types.is_null(found):
        return True
    if found in _INTEGERS and declared in _INTEGERS:
        return _INTEGERS.index(found) <= _INTEGERS.index(declared)
    if pa.types.is_decimal(found) and pa.types.is_decimal(declared):
        whole = declared.precision - declared.scale >= found.precision - found.scale
        return bool(whole and declared.scale >= found.scale)
    return bool(found == pa.float32() and declared == pa.float64())


def _check_dataset(dataset: Dataset, schema: pa.Schema, engine: Engine) -> None:
    _check_columns("PARTITIONED BY", [part.column for part in dataset.partition], schema.names, dataset.origin)
    for part in dataset.partition:
        kind = schema.field(_exact(part.column, schema)).type
        if part.transform != "identity" and not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            raise PipelineTypeError(
                f"{dataset.origin}: PARTITIONED BY {part}: {part.column} is {kind}, not a time",
                "partition by the column itself, or by a TIMESTAMP or DATE",
            )
    _check_columns("CLUSTER BY", dataset.cluster, schema.names, dataset.origin)
    for constraint in dataset.constraints:
        _check_constraint(constraint, schema, engine)


def _check_constraint(constraint: Constraint, schema: pa.Schema, engine: Engine) -> None:
    _check_boolean(engine, constraint.condition, schema, constraint.origin, f"constraint {constraint.name}")


def _same_schema(node: FlowNode, schema: pa.Schema, first: pa.Schema) -> None:
    """A further flow into a table: the same columns, in the same order unless it is BY NAME, of types that fit."""
    flow = node.flow
    _check_columns(f"flow {flow.name} lacks columns of {flow.target}", first.names, schema.names, flow.origin)
    _check_columns(f"flow {flow.name} into {flow.target}", schema.names, first.names, flow.origin)
    if not flow.by_name and [*map(str.lower, schema.names)] != [*map(str.lower, first.names)]:
        raise PipelineTypeError(
            f"{flow.origin}: flow {flow.name} answers ({', '.join(schema.names)}), {flow.target} has "
            f"({', '.join(first.names)})",
            f"write INSERT INTO {flow.target} BY NAME, or bring the columns into that order",
        )
    for column in schema:
        wanted = first.field(_exact(column.name, first))
        if not _fits(column.type, wanted.type):
            raise PipelineTypeError(
                f"{flow.origin}: flow {flow.name} answers {column.name} as {column.type}, not as {wanted.type}",
                "write CAST(…) in the query",
            )


def _check_boolean(engine: Engine, condition: exp.Expression, schema: pa.Schema, origin: Origin, what: str) -> None:
    kind = _expression_type(engine, condition, schema, origin)
    if not (pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise PipelineTypeError(f"{origin}: {what} is {kind}, not true or false", "write a comparison")


def _expression_type(engine: Engine, expression: exp.Expression, schema: pa.Schema, origin: Origin) -> pa.DataType:
    query = exp.select(exp.alias_(expression.copy(), "answer")).from_(_ROWS)
    answer: pa.DataType = _ask(engine, query, {_ROWS: Relation(schema)}, origin).field(0).type
    return answer


def _ask(engine: Engine, tree: exp.Query, relations: Mapping[str, Relation], origin: Origin) -> pa.Schema:
    return engine.schema(Query(tree, relations, _NOW, str(origin)))


def _check_names(given: Iterable[str], origin: Origin) -> None:
    names = [name.lower() for name in given if name != "*"]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PipelineTypeError(f"{origin}: the query answers two columns named {twice}", "rename one: expr AS name")
    internal = next((name for name in names if is_internal(name)), None)
    if internal is not None:
        raise PipelineTypeError(f"{origin}: {internal} is a name for internal columns", "do not begin it with __")


def _check_columns(clause: str, names: Iterable[str], known: list[str], origin: Origin) -> None:
    present = {name.lower() for name in known}
    for name in names:
        if name.lower() not in present:
            near = get_close_matches(name.lower(), sorted(present), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise PipelineTypeError(f"{origin}: {clause}: there is no column {name}", hint)


def _exact(name: str, schema: pa.Schema) -> str:
    names: list[str] = schema.names
    return next(known for known in names if known.lower() == name.lower())
