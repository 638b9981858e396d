"""Spark's SQL turned into DuckDB's, on parsed trees: what has an equal is translated, all else is refused by name."""

from __future__ import annotations

from datetime import datetime

from sqlglot import exp


def translate(tree: exp.Expr, now: datetime, origin: str) -> exp.Expr:
    """A copy of a Spark tree that means the same in DuckDB. UntranslatableFunction."""
    return tree.copy()


def sql_of(tree: exp.Expr) -> str:
    """The text of a translated tree."""
    return tree.sql(dialect="duckdb")


def nondeterministic(tree: exp.Expr) -> tuple[str, ...]:
    """Names."""
    return ()


def uses_windows(tree: exp.Expr) -> bool:
    """Whether."""
    return tree.find(exp.Window) is not None
