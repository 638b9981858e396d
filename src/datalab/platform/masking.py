"""Personal data as people may see it: fields that a contract tags are masked wherever rows are shown."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlglot import exp

MASK = "•••"
_TELLS_NO_VALUE = (exp.Predicate, exp.Connector, exp.Not, exp.Count, exp.CountIf, exp.Length, exp.Query)


def mask_row(text: str | None, fields: Collection[str]) -> Any:
    """A row kept as JSON, with the values of `fields` (leaf names, at any depth) masked; the text if it is no JSON."""
    if text is None:
        return None
    try:
        return mask_value(json.loads(text), {field.lower() for field in fields})
    except ValueError:
        return MASK if fields else text


def mask_value(value: Any, fields: Collection[str]) -> Any:
    """The same value, what it holds under the names `fields` (in lower case) masked. NULL stays."""
    if isinstance(value, dict):
        return {
            key: MASK if key.lower() in fields and part is not None else mask_value(part, fields)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [mask_value(part, fields) for part in value]
    return value


def personal_columns(queries: Iterable[exp.Query], tagged: Iterable[str]) -> frozenset[str]:
    """The tagged names and, wherever `queries` compute a column from them, that column's name, in lower case.

    By name alone, over all tables: rather one column too many than one too few. Comparisons and counts tell no value.
    """
    renamed = {pair for query in queries for pair in _derived(query)}
    known = {name.lower() for name in tagged}
    while more := {name for name, source in renamed if source in known} - known:
        known |= more
    return frozenset(known)


def _derived(query: exp.Query) -> Iterator[tuple[str, str]]:
    """Pairs of a column's name and the name of something that its value is made of."""
    for select in query.find_all(exp.Select):
        for column in select.selects:
            for node in column.walk(prune=lambda node: isinstance(node, _TELLS_NO_VALUE)):
                if isinstance(node, exp.Identifier):
                    yield column.alias_or_name.lower(), node.name.lower()
    for union in query.find_all(exp.SetOperation):
        for first, second in zip(union.left.selects, union.right.selects, strict=False):
            yield first.alias_or_name.lower(), second.alias_or_name.lower()
