"""What a GROUP BY groups by: positions and ALL stand for what is selected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from datalab.engine.aggregates import has_aggregate


class NotGrouped(Exception):
    """Why the groups of a view do not stand alone; never leaves the functions that answer it as text."""


@dataclass(frozen=True)
class Item:
    """One expression of a GROUP BY; `selected` where it was taken from the results, so that no alias can be meant."""

    expression: exp.Expr
    selected: bool


def group_items(select: exp.Select) -> tuple[Item, ...]:
    """The items of a GROUP BY. NotGrouped where they overlap, or cannot be told."""
    group = select.args["group"]
    if any(group.args.get(key) for key in group.args if key not in ("expressions", "all")):
        raise NotGrouped("its groups overlap")
    if group.args.get("all"):
        return tuple(_all(select))
    return tuple(_item(select, expression) for expression in group.expressions)


def _item(select: exp.Select, expression: exp.Expr) -> Item:
    if not isinstance(expression, exp.Literal) or expression.is_string:
        return Item(expression, selected=False)
    if any(each.is_star for each in select.expressions):
        raise NotGrouped(f"GROUP BY {expression.name} counts the columns of a star")
    position = int(expression.name) - 1 if expression.is_int else -1
    if not 0 <= position < len(select.expressions):
        raise NotGrouped(f"GROUP BY {expression.name} names no column")
    return _selected(select, position)


def _all(select: exp.Select) -> Iterator[Item]:
    """As Spark has it: what is selected and holds no aggregate. Constants part no rows and are left out."""
    if any(each.is_star for each in select.expressions):
        raise NotGrouped("GROUP BY ALL groups by a star")
    if any(each.find(exp.Query) for each in select.expressions):
        raise NotGrouped("GROUP BY ALL stands over a subquery")
    keys = [n for n, each in enumerate(select.expressions) if not has_aggregate(each) and each.find(exp.Column)]
    if not keys:
        raise NotGrouped("it has no GROUP BY")
    yield from (_selected(select, position) for position in keys)


def _selected(select: exp.Select, position: int) -> Item:
    expression = select.expressions[position].unalias()
    earlier = {each.alias.lower() for each in select.expressions[:position] if _renames(each)}
    for column in expression.find_all(exp.Column):
        if not column.table and column.name.lower() in earlier:
            raise NotGrouped(f"{column.name} may be a column or an alias: write the expression")
    return Item(expression, selected=True)


def _renames(selected: exp.Expr) -> bool:
    inner = selected.unalias()
    return isinstance(selected, exp.Alias) and not (
        isinstance(inner, exp.Column) and inner.name.lower() == selected.alias.lower()
    )
