"""Columns that are maps, told from arrays by their names: both are read with brackets, `size` and `explode`."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from sqlglot import exp

_MARK = "map"


def mark_maps(tree: exp.Expr, schemas: Iterable[pa.Schema]) -> exp.Expr:
    """The query with columns marked whose name only maps have; itself where there are none."""
    maps, others = _names(schemas)
    renamed = {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    renamed |= {name.name.lower() for alias in tree.find_all(exp.TableAlias) for name in alias.columns}
    known = maps - others - renamed
    if not known:
        return tree
    made = tree.copy()
    for column in made.find_all(exp.Column):
        if column.name.lower() in known:
            column.meta[_MARK] = True
    return made


def is_map(node: exp.Expr) -> bool:
    """Whether an expression is a column that was marked, or a map written out."""
    node = node.unnest()
    return bool(node.meta.get(_MARK)) or isinstance(node, exp.VarMap | exp.Map)


def _names(schemas: Iterable[pa.Schema]) -> tuple[set[str], set[str]]:
    """Names of columns that are maps, and of all other columns and fields, however deep they lie."""
    maps: set[str] = set()
    others: set[str] = set()
    for schema in schemas:
        for field in schema:
            (maps if pa.types.is_map(field.type) else others).add(field.name.lower())
            others |= set(_inside(field.type))
    return maps, others


def _inside(kind: pa.DataType) -> Iterable[str]:
    for number in range(kind.num_fields):
        field = kind.field(number)
        if pa.types.is_struct(kind):
            yield field.name.lower()
        yield from _inside(field.type)
