"""Queries and conditions of pipeline files as sqlglot trees, in the Spark dialect, with their place in the file.

Every node that has a position carries `line`, `col` (where it starts, from 1) and `file` in `meta`; a table that is
read as a stream carries `stream`.
"""

from __future__ import annotations

import re

from sqlglot import Token, TokenType, exp
from sqlglot.errors import ParseError

from datalab.engine.aggregates import has_aggregate
from datalab.errors import DataLabError
from datalab.pipelines.lex import Source
from datalab.pipelines.model import Origin
from datalab.pipelines.query_tokens import FILES_HINT, SPARK, query_tokens

_QUERY_START = (TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.L_PAREN)
_INTERNALS = re.compile(r" but got <Token.*", re.DOTALL)
_QUERY_HINT = "write SELECT … FROM …"
_ROW_HINT = "leave queries, aggregates, windows and AS out: a > 0 AND b IS NOT NULL"
_OF_SEVERAL = (exp.Query, exp.Window, exp.UDTF)


def parse_query(source: Source, start: int, end: int) -> exp.Query:
    """The query between two offsets. PipelineSyntaxError or UnsupportedStatement with file, line and column."""
    tokens, streams = query_tokens(source, start, end)
    if not tokens or tokens[0].token_type not in _QUERY_START:
        raise source.syntax_error(tokens[0].start if tokens else start, "expected a query", _QUERY_HINT)
    tree = _run_parser(source, tokens, None)
    while isinstance(tree, exp.Subquery) and not any(tree.args.get(key) for key in tree.args if key != "this"):
        tree = tree.this
    if not isinstance(tree, exp.Query) or not all(map(_holds_queries, tree.walk())):
        raise source.syntax_error(start, "expected a query", _QUERY_HINT)
    _place(tree, source, streams)
    _refuse_foreign_tables(tree, source, start)
    return tree


def parse_condition(source: Source, start: int, end: int) -> exp.Expression:
    """The expression between two offsets, over one row: without queries, aggregates, windows and generators inside."""
    tokens, _ = query_tokens(source, start, end)
    if not tokens:
        raise source.syntax_error(start, "expected an expression", _ROW_HINT)
    tree = _run_parser(source, tokens, exp.Condition)
    if not isinstance(tree, exp.Expression) or tree.find(*_OF_SEVERAL) or has_aggregate(tree):
        raise source.syntax_error(start, "expected an expression over the columns of one row", _ROW_HINT)
    _place(tree, source, set())
    return tree


def parse_stream(source: Source, start: int, end: int) -> exp.Query:
    """`STREAM table`, as in AUTO CDC … FROM: the query of all its columns."""
    tokens, streams = query_tokens(source, start, end)
    if len(streams) != 1:
        raise source.syntax_error(start, "AUTO CDC reads a stream", "write FROM STREAM table, or FROM (SELECT …)")
    table = _run_parser(source, tokens, exp.Table)
    query = exp.select("*").from_(table, copy=False)
    _place(query, source, streams)
    _refuse_foreign_tables(query, source, start)
    return query


def origin_of(node: exp.Expr, default: Origin) -> Origin:
    """Where a node begins: the first of the positions that it and its parts have."""
    parts = [part.meta for part in node.walk() if "line" in part.meta]
    if not parts:
        return default
    first = min(parts, key=lambda meta: (meta["line"], meta["col"]))
    return Origin(str(first.get("file", default.file)), int(first["line"]), int(first["col"]))


def is_stream(table: exp.Table) -> bool:
    """Whether the table is read as a stream: each of its rows once."""
    return bool(table.meta.get("stream"))


def _holds_queries(node: exp.Expr) -> bool:
    """Whether what must be a query inside a query is one: sqlglot also takes other statements and plain values."""
    if isinstance(node, exp.CTE):
        return isinstance(node.this, exp.Query | exp.Values)
    if isinstance(node, exp.SetOperation):
        return all(isinstance(side, exp.Query | exp.Values) for side in (node.this, node.expression))
    return not isinstance(node, exp.Command | exp.DML | exp.DDL) or isinstance(node, exp.Query)


def _run_parser(source: Source, tokens: list[Token], into: type[exp.Expr] | None) -> exp.Expr:
    parser = SPARK.parser()
    try:
        trees = parser.parse_into(into, tokens, source.text) if into else parser.parse(tokens, source.text)
    except ParseError as error:
        raise _syntax_error(source, tokens, error) from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # sqlglot stumbles over some texts that are not SQL instead of refusing them
        raise source.syntax_error(tokens[0].start, f"the query cannot be read: {error}", _QUERY_HINT) from error
    if len(trees) != 1 or trees[0] is None:
        raise source.syntax_error(tokens[0].start, "expected one query", _QUERY_HINT)
    return trees[0]


def _syntax_error(source: Source, tokens: list[Token], error: ParseError) -> DataLabError:
    first = error.errors[0] if error.errors else {}
    place = next(
        (token for token in tokens if (token.line, token.col) == (first.get("line"), first.get("col"))), tokens[-1]
    )
    description = str(first.get("description") or error)
    description = "something is missing" if "Required keyword" in description else _INTERNALS.sub("", description)
    return source.syntax_error(
        place.start,
        f"the query does not follow the Spark dialect near '{place.text}': {description}",
        "look just before the caret: a missing comma, bracket or keyword",
    )


def _place(tree: exp.Expr, source: Source, streams: set[int]) -> None:
    for node in tree.walk():
        if "line" in node.meta:
            length = int(node.meta["end"]) - int(node.meta["start"])
            node.meta["col"] = max(1, int(node.meta["col"]) - length)
            node.meta["file"] = source.file
    for table in tree.find_all(exp.Table):
        first = table.args.get("db") or table.this
        if first is not None and first.meta.get("start") in streams:
            table.meta["stream"] = True


def _refuse_foreign_tables(tree: exp.Query, source: Source, start: int) -> None:
    for table in tree.find_all(exp.Table):
        offset = next((int(part.meta["start"]) for part in table.walk() if "start" in part.meta), start)
        if not isinstance(table.this, exp.Identifier):
            raise source.unsupported(offset, f"the table function {table.this.sql('spark')}", FILES_HINT)
        if table.args.get("catalog"):
            raise source.unsupported(
                offset, f"the catalog in {table.sql('spark')}", "write layer.table: a project has one catalog"
            )
        if table.args.get("version") or table.find(exp.Parameter):
            raise source.unsupported(
                offset, "time travel in a pipeline", "read the table as it is; datalab query --at looks back"
            )
