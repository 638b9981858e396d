"""Texts in a query that sqlglot reads otherwise than Spark, and whose own form its tree no longer tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from sqlglot import Token, TokenType

_WEEK_YEAR = (
    "the letter Y in a date pattern",
    "write y: Y is the year that a week belongs to, and Spark refuses it too",
)
_NO_ROOT = (
    "a path of get_json_object that does not begin with $",
    "write '$.name': without the $ Spark answers NULL",
)
_PATTERNED = frozenset(
    {
        "date_format",
        "from_unixtime",
        "to_date",
        "to_timestamp",
        "to_unix_timestamp",
        "try_to_timestamp",
        "unix_timestamp",
    }
)
_QUOTED = re.compile(r"'[^']*'")


def misread(tokens: list[Token]) -> tuple[Token, str, str] | None:
    """The first such text, what it is and what to write instead."""
    for function, token in _last_texts(tokens):
        if function in _PATTERNED and "Y" in _QUOTED.sub("", token.text):
            return token, *_WEEK_YEAR
        if function == "get_json_object" and not token.text.startswith("$"):
            return token, *_NO_ROOT
    return None


def _last_texts(tokens: list[Token]) -> Iterator[tuple[str, Token]]:
    """Texts behind a comma, with the function whose argument they are."""
    calls: list[str] = []
    for before, token in pairwise(tokens):
        if token.token_type == TokenType.L_PAREN:
            calls.append(before.text.lower())
        elif token.token_type == TokenType.R_PAREN and calls:
            calls.pop()
        elif token.token_type == TokenType.STRING and before.token_type == TokenType.COMMA and calls:
            yield calls[-1], token
