"""The tokens of a query as sqlglot takes them: Spark's strings, no stray commas, STREAM taken out but remembered."""

from __future__ import annotations

from sqlglot import Token, TokenType
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import TokenError
from sqlglot.parser import Parser

from datalab.pipelines.lex import Source
from datalab.pipelines.misread import misread

SPARK = Dialect.get_or_raise("spark")
FILES_HINT = "declare the files as a source in datalab.yaml and read its bronze table with STREAM"

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
    ("DELAY", "OF", "INTERVAL"): ("WATERMARK … DELAY OF", "leave it out: a streaming table takes late rows too"),
    ("CHANGES", "FROM", "VERSION"): ("CHANGES FROM VERSION", "read the table with STREAM: new rows come by themselves"),
    ("CHANGES", "FROM", "TIMESTAMP"): ("CHANGES FROM TIMESTAMP", "read the table with STREAM"),
}


def query_tokens(source: Source, start: int, end: int) -> tuple[list[Token], set[int]]:
    """Tokens between two offsets, without the word STREAM before tables, and the offsets of the names behind it.

    PipelineSyntaxError, UnsupportedStatement.
    """
    return _take_streams(_tokens(source, start, end), source)


def _tokens(source: Source, start: int, end: int) -> list[Token]:
    try:
        found = SPARK.tokenize(source.code[start:end])
    except TokenError as error:
        raise source.syntax_error(start, "the query cannot be read", str(error)) from error
    tokens = _in_file(source, start, found)
    for phrase, (what, hint) in _UNSUPPORTED_PHRASES.items():
        for index, token in enumerate(tokens):
            if _phrase_at(tokens, index, phrase) and _has_argument(tokens, index + len(phrase)):
                raise source.unsupported(token.start, what, hint)
    _refuse_stray_commas(source, tokens)
    if found_text := misread(tokens):
        token, what, hint = found_text
        raise source.unsupported(token.start, what, hint)
    return join_strings(tokens, source.text)


def _in_file(source: Source, start: int, tokens: list[Token]) -> list[Token]:
    """The tokens of a part of the file, with their places in the file."""
    first = source.origin(start)
    moved = []
    for token in tokens:
        column = token.col + (first.column - 1 if token.line == 1 else 0)
        place = (token.line + first.line - 1, column, token.start + start, token.end + start)
        moved.append(Token(token.token_type, token.text, *place))
    return moved


def _refuse_stray_commas(source: Source, tokens: list[Token]) -> None:
    """For sqlglot, `a,, b` and `a, FROM` read as if the comma were not there; not for Spark."""
    for index, token in enumerate(tokens):
        last = index + 1 == len(tokens)
        if token.token_type == TokenType.COMMA and (last or tokens[index + 1].token_type in _AFTER_COMMA_NEVER):
            raise source.syntax_error(token.start, "a comma with nothing behind it", "remove the comma")


def _phrase_at(tokens: list[Token], index: int, phrase: tuple[str, ...]) -> bool:
    return tuple(token.text.upper() for token in tokens[index : index + len(phrase)]) == phrase


def _has_argument(tokens: list[Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].token_type in (TokenType.NUMBER, TokenType.STRING)


def join_strings(tokens: list[Token], written: str) -> list[Token]:
    """The tokens of a text, with strings as Spark reads them: two quotes inside are one quote.

    sqlglot reads 'a''b' as two strings side by side.
    """
    joined: list[Token] = []
    for token in tokens:
        last = joined[-1] if joined else None
        if last and last.token_type == token.token_type == TokenType.STRING and last.end + 1 == token.start:
            text = f"{last.text}{written[token.start]}{token.text}"
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
        raise source.unsupported(tokens[start].start, f"STREAM {tokens[start].text}(…)", FILES_HINT)
    if at == start or (bracket and (at == len(tokens) or tokens[at].token_type != TokenType.R_PAREN)):
        raise source.syntax_error(
            tokens[index].start, "STREAM takes the name of a table or view", "write FROM STREAM layer.table"
        )
    return tokens[start:at], at + bracket
