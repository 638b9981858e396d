"""Questions to the lake: a query in the Spark dialect over any tables, as of now or of an earlier moment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa
from sqlglot import exp
from sqlglot.errors import SqlglotError

from datalab.engine.base import Engine, Query
from datalab.errors import PipelineSyntaxError, UnknownTable
from datalab.lake.lake import Lake
from datalab.lake.table import Relation
from datalab.names import TableName
from datalab.pipelines.misread import misread
from datalab.pipelines.query_tokens import SPARK, join_strings
from datalab.quality.quarantine import QUARANTINE, QUARANTINE_SCHEMA

Moment = datetime | int | str
_TOKEN = re.compile(r" but got <Token [^>]*>+")
_LACKING = re.compile(r"Required keyword: '(\w+)' missing for <class '[\w.]*\.(\w+)'>")


def ask(lake: Lake, engine: Engine, sql: str, now: datetime, at: Moment | None = None) -> pa.RecordBatchReader:
    """The rows of a SELECT. `at` is a moment, or a snapshot id or tag of the tables that the query reads.

    PipelineSyntaxError, UnknownTable, TableNotFound, SnapshotNotFound.
    """
    tree = parse_query(sql)
    relations = {str(name): relation_at(lake, name, at) for name in _names(tree)}
    return engine.read(Query(tree, relations, now, "query"))


def parse_query(sql: str) -> exp.Query:
    """One SELECT in the Spark dialect; PipelineSyntaxError for anything else."""
    try:
        tokens = join_strings(SPARK.tokenize(sql), sql)
        statements = [statement for statement in SPARK.parser().parse(tokens, sql) if statement is not None]
    except SqlglotError as error:
        raise PipelineSyntaxError(f"the query does not parse: {_first_line(error)}", "check the SQL") from error
    if found := misread(tokens):
        token, what, hint = found
        raise PipelineSyntaxError(f"line {token.line}: {what} is not supported", hint)
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise PipelineSyntaxError("only one SELECT can be asked at a time", 'datalab query "SELECT … FROM layer.table"')
    return statements[0]


def relation_at(lake: Lake, name: TableName, at: Moment | None = None) -> Relation:
    """The rows of a table now, or as of a moment or snapshot id. Where nothing was refused, the quarantine is empty."""
    if name == QUARANTINE and lake.state(name) is None:
        return Relation(QUARANTINE_SCHEMA)
    state = lake.require(name)
    return lake.files(state, None if at is None else lake.at(state, at))


def _names(tree: exp.Query) -> Iterable[TableName]:
    defined = {common.alias.lower() for common in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.catalog:
            raise UnknownTable(f"no table {table.sql('spark')}", "tables have names of two parts: layer.table")
        if table.db:
            yield TableName.parse(f"{table.db}.{table.name}".lower())
        elif table.name and table.name.lower() not in defined:
            raise UnknownTable(
                f"no table {table.name}", "tables have names of two parts: layer.table; datalab data list"
            )


def _first_line(error: Exception) -> str:
    return _LACKING.sub(r"\2 lacks its argument '\1'", _TOKEN.sub("", str(error).splitlines()[0]))
