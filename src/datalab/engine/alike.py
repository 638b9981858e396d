"""Columns that UNION, INTERSECT and EXCEPT put together: DuckDB makes texts of what Spark makes numbers or refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import duckdb
from sqlglot import exp

from datalab.engine.dialect import sql_of
from datalab.engine.places import place
from datalab.errors import PipelineTypeError

Types = Callable[[str], Sequence[str]]
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_UNTYPED = "INTEGER"  # what DuckDB says of NULL


def require_alike(tree: exp.Expr, types: Types, origin: str) -> None:
    """PipelineTypeError where a column is a text in one query of a set operation and something else in another.

    `types` answers the types of a query's columns. One that reads rows of an outer query is taken as it is.
    """
    for node in tree.find_all(exp.SetOperation):
        if isinstance(node.parent, exp.SetOperation) or node.args.get("by_name"):
            continue
        sides = [_alone(side) for side in _sides(node)]
        try:
            found = [types(side) for side in sides]
        except duckdb.Error:
            continue
        for number, kinds in enumerate(zip(*found, strict=False)):
            if len({_group(kind) for kind in kinds} - {""}) > 1:
                _require_one(number, [(side, kinds[at]) for at, side in enumerate(sides)], types, place(origin, node))


def _require_one(number: int, sides: Sequence[tuple[str, str]], types: Types, where: str) -> None:
    typed = [kind for side, kind in sides if kind != _UNTYPED or not _is_null(side, number, types)]
    kinds = list({_group(kind): kind for kind in typed if _group(kind)}.values())
    if len(kinds) > 1:
        raise PipelineTypeError(
            f"{where}: column {number + 1} is {kinds[0]} in one query and {kinds[1]} in another", "cast one of them"
        )


def _is_null(side: str, number: int, types: Types) -> bool:
    """Whether a column has no type of its own: then it takes any."""
    others = ", ".join("CAST(NULL AS TINYINT)" if at == number else "NULL" for at in range(len(types(side))))
    return types(f"{side} UNION ALL SELECT {others}")[number] == "TINYINT"


def _group(kind: str) -> str:
    """Types of one group meet in the same type as in Spark; empty for nested ones, which do not meet."""
    if kind.startswith(_NUMBERS):
        return "" if kind.endswith("]") else "number"
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return "moment"
    return kind if kind in ("VARCHAR", "BOOLEAN", "BLOB") else ""


def _sides(node: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(node, exp.SetOperation):
        yield from _sides(node.this)
        yield from _sides(node.expression)
    else:
        yield node


def _alone(side: exp.Expr) -> str:
    """The text of a query that is part of another, with what is defined around it."""
    known: dict[str, str] = {}
    around = side.parent
    while around is not None:
        clause = around.args.get("with_")
        outer = {common.alias.lower(): sql_of(common) for common in clause.expressions} if clause is not None else {}
        known = {**{name: text for name, text in outer.items() if name not in known}, **known}
        around = around.parent
    given = f"WITH RECURSIVE {', '.join(known.values())} " if known else ""
    return f"{given}SELECT * FROM ({sql_of(side)})"
