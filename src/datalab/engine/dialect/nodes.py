"""The few nodes that translations are built from. A translation answers None where there is no equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

Rewrite = Callable[[Any], exp.Expr | None]


class Refused(Exception):
    """What Spark refuses, too, or would answer otherwise: what it is, and what to write instead."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def call(name: str, *arguments: exp.Expr) -> exp.Expr:
    """A call of a DuckDB function or macro."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def cast(value: exp.Expr, kind: str) -> exp.Expr:
    """DuckDB's own CAST."""
    return exp.Cast(this=value, to=exp.DataType.build(kind, dialect="duckdb"))


def string(text: str) -> exp.Literal:
    """A literal text."""
    return exp.Literal.string(text)


def text_of(node: exp.Expr | None) -> str | None:
    """The value of a literal text."""
    return node.this if isinstance(node, exp.Literal) and node.is_string else None
