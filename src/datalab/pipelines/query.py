"""Queries and conditions of pipeline files as sqlglot trees, in the Spark dialect, with their place in the file.

Every node that has a position carries `line`, `col` (where it starts, from 1) and `file` in `meta`; a table that is
read as a stream carries `stream`.
"""

from __future__ import annotations

import re

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser

from datalab.errors import DataLabError
from datalab.pipelines.lex import Source
from datalab.pipelines.model import Origin

_NOT_NEWLINE = re.compile(r"[^\n]")
_INTERNALS = re.compile(r" but got <Token.*", re.DOTALL)
_SPARK = Dialect.get_or_raise("spark")
_END_OF_FROM = frozenset(
    {
        TokenType.SELECT, TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING, TokenType.ORDER_BY,
        TokenType.QUALIFY, TokenType.LIMIT, TokenType.UNION, TokenType.INTERSECT, TokenType.EXCEPT,
        TokenType.WINDOW, TokenType.LATERAL, TokenType.SORT_BY, TokenType.CLUSTER_BY, TokenType.DISTRIBUTE_BY,
    }
)  # fmt: skip
_AFTER_COMMA_NEVER = frozenset(
    {TokenType.COMMA, TokenType.R_PAREN, TokenType.FROM, TokenType.WHERE, TokenType.GROUP_BY, TokenType.ORDER_BY}
)
_UNSUPPORTED_PHRASES = {
    ("DELAY", "OF"): ("WATERMARK … DELAY OF", "leave it out: a streaming table takes late rows too"),
    ("CHANGES", "FROM", "VERSION"): ("CHANGES FROM VERSION", "read the table with STREAM: new rows come by themselves"),
    ("CHANGES", "FROM", "TIMESTAMP"): ("CHANGES FROM TIMESTAMP", "read the table with STREAM"),
}
_ROW_HINT = "leave queries and AS out: a > 0 AND b IS NOT NULL"
_FILES_HINT = "declare the files as a source in datalab.yaml and read its bronze table with STREAM"


def parse_query(source: Source, start: int, end: int) -> exp.Query:
    """The query between two offsets. PipelineSyntaxError or UnsupportedStatement with file, line and column."""
    tree = _parse(source, start, end)
    while isinstance(tree, exp.Subquery) and not any(tree.args.get(key) for key in tree.args if key != "this"):
        tree = tree.this
    if not isinstance(tree, exp.Query):
        raise source.syntax_error(start, "expected a query", "write SELECT … FROM …")
    _refuse_foreign_tables(tree, source, start)
    return tree


def parse_condition(source: Source, start: int, end: int) -> exp.Expression:
    """The expression between two offsets, without queries inside."""
    tree = _parse(source, start, end)
    if not isinstance(tree, exp.Expression) or tree.find(exp.Query) or isinstance(tree, exp.Alias):
        raise source.syntax_error(start, "expected an expression over the columns of one row", _ROW_HINT)
    return tree


def parse_stream(source: Source, start: int, end: int) -> exp.Query:
    """`STREAM table`, as in AUTO CDC … FROM: the query of all its columns."""
    tokens, streams = _take_streams(_tokens(source, start, end), source)
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


def _parse(source: Source, start: int, end: int) -> exp.Expr:
    if not source.text[start:end].strip():
        raise source.syntax_error(start, "expected a query or an expression", "write SELECT … FROM …, or a condition")
    tokens, streams = _take_streams(_tokens(source, start, end), source)
    tree = _run_parser(source, tokens, None)
    _place(tree, source, streams)
    return tree


def _tokens(source: Source, start: int, end: int) -> list[Token]:
    blank = _NOT_NEWLINE.sub(" ", source.text[:start])
    try:
        tokens = _SPARK.tokenize(blank + source.code[start:end])
    except TokenError as error:
        raise source.syntax_error(start, "the query cannot be read", str(error)) from error
    for phrase, (what, hint) in _UNSUPPORTED_PHRASES.items():
        for index, token in enumerate(tokens):
            if _phrase_at(tokens, index, phrase):
                raise source.unsupported(token.start, what, hint)
    _refuse_stray_commas(source, tokens)
    return _join_strings(source, tokens)


def _refuse_stray_commas(source: Source, tokens: list[Token]) -> None:
    """For sqlglot, `a,, b` and `a, FROM` read as if the comma were not there; not for Spark."""
    for token, follower in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type == TokenType.COMMA and (follower is None or follower.token_type in _AFTER_COMMA_NEVER):
            raise source.syntax_error(token.start, "a comma with nothing behind it", "remove the comma")


def _phrase_at(tokens: list[Token], index: int, phrase: tuple[str, ...]) -> bool:
    return tuple(token.text.upper() for token in tokens[index : index + len(phrase)]) == phrase


def _join_strings(source: Source, tokens: list[Token]) -> list[Token]:
    """In Spark two quotes inside a string are one quote; sqlglot reads 'a''b' as two strings side by side."""
    joined: list[Token] = []
    for token in tokens:
        last = joined[-1] if joined else None
        if last and last.token_type == token.token_type == TokenType.STRING and last.end + 1 == token.start:
            text = f"{last.text}{source.text[token.start]}{token.text}"
            joined[-1] = Token(TokenType.STRING, text, token.line, token.col, last.start, token.end)
        else:
            joined.append(token)
    return joined


def _take_streams(tokens: list[Token], source: Source) -> tuple[list[Token], set[int]]:
    """Leave out the word STREAM before tables; the answer has the offsets of the names that it stood before."""
    kept: list[Token] = []
    streams: set[int] = set()
    in_from = [not tokens or tokens[0].text.upper() == "STREAM"]
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if _marks_stream(tokens, index, in_from[-1]):
            name, index = _stream_name(tokens, index, source)
            streams.add(name[0].start)
            kept.extend(name)
            continue
        _track_from(tokens, index, in_from)
        kept.append(token)
        index += 1
    return kept, streams


def _track_from(tokens: list[Token], index: int, in_from: list[bool]) -> None:
    """Keep a stack, by bracket, of whether a comma here separates tables."""
    kind = tokens[index].token_type
    if kind == TokenType.L_PAREN:
        in_from.append(_at_table(tokens, index, in_from[-1]))
    elif kind == TokenType.R_PAREN and len(in_from) > 1:
        in_from.pop()
    elif kind == TokenType.FROM:
        in_from[-1] = True
    elif kind in _END_OF_FROM:
        in_from[-1] = False


def _at_table(tokens: list[Token], index: int, in_from: bool) -> bool:
    if index == 0:
        return in_from
    before = tokens[index - 1].token_type
    if before == TokenType.FROM:
        return index < 2 or tokens[index - 2].token_type != TokenType.DISTINCT
    return before == TokenType.JOIN or (in_from and before in (TokenType.COMMA, TokenType.L_PAREN))


def _marks_stream(tokens: list[Token], index: int, in_from: bool) -> bool:
    token = tokens[index]
    if token.token_type != TokenType.VAR or token.text.upper() != "STREAM" or index + 1 == len(tokens):
        return False
    follows = tokens[index + 1].token_type
    return _at_table(tokens, index, in_from) and (follows == TokenType.L_PAREN or _is_name(follows))


def _is_name(kind: TokenType) -> bool:
    return kind in Parser.TABLE_ALIAS_TOKENS or kind == TokenType.IDENTIFIER


def _stream_name(tokens: list[Token], index: int, source: Source) -> tuple[list[Token], int]:
    """The tokens of the name after STREAM, without brackets, and the index behind them."""
    bracket = tokens[index + 1].token_type == TokenType.L_PAREN
    start = at = index + 1 + bracket
    while at < len(tokens) and (_is_name(tokens[at].token_type) or tokens[at].token_type == TokenType.DOT):
        at += 1
        if at < len(tokens) and tokens[at].token_type != TokenType.DOT and tokens[at - 1].token_type != TokenType.DOT:
            break
    if at < len(tokens) and at > start and tokens[at].token_type == TokenType.L_PAREN:
        raise source.unsupported(tokens[start].start, f"STREAM {tokens[start].text}(…)", _FILES_HINT)
    if at == start or (bracket and (at == len(tokens) or tokens[at].token_type != TokenType.R_PAREN)):
        raise source.syntax_error(
            tokens[index].start, "STREAM takes the name of a table or view", "write FROM STREAM layer.table"
        )
    return tokens[start:at], at + bracket


def _run_parser(source: Source, tokens: list[Token], into: type[exp.Table] | None) -> exp.Expr:
    parser = _SPARK.parser()
    text = source.text[: tokens[-1].end + 1]
    try:
        trees = parser.parse_into(into, tokens, text) if into else parser.parse(tokens, text)
    except ParseError as error:
        raise _syntax_error(source, tokens, error) from error
    if len(trees) != 1 or trees[0] is None:
        raise source.syntax_error(tokens[0].start, "expected one query", "write SELECT … FROM …")
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
            raise source.unsupported(offset, f"the table function {table.this.sql('spark')}", _FILES_HINT)
        if table.args.get("catalog"):
            raise source.unsupported(
                offset, f"the catalog in {table.sql('spark')}", "write layer.table: a project has one catalog"
            )
        if table.args.get("version") or table.find(exp.Parameter):
            raise source.unsupported(
                offset, "time travel in a pipeline", "read the table as it is; datalab query --at looks back"
            )
