"""Mistakes in a query that show when it is bound to its tables: what is wrong, on which line, and what was meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from sqlglot import exp

from datalab.engine.base import Query
from datalab.engine.places import place
from datalab.errors import PipelineTypeError

_MISSING = (
    (re.compile(r'Referenced column "(?P<name>[^"]+)" not found'), "no column {name}"),
    (re.compile(r'Referenced table "(?P<name>[^"]+)" not found'), "no table or alias {name}"),
    (re.compile(r'(?:Values list|Table) "[^"]+" does not have a column named "(?P<name>[^"]+)"'), "no column {name}"),
    (re.compile(r'Could not find key "(?P<name>[^"]+)" in struct'), "no field {name}"),
    (re.compile(r'Ambiguous reference to column name "(?P<name>[^"]+)"'), "more than one table has a column {name}"),
)
_UNGROUPED = re.compile(r'olumn "(?P<name>[^"]+)" must appear in the GROUP BY')
_FITS = re.compile(r"No function matches the given name and argument types '(?P<call>[^']+)'")
_MACRO = re.compile(r"Macro (?:spark_)?(?P<name>\w+)\(\) does not support the supplied arguments")
_CANDIDATES = re.compile(r"Candidate (?:bindings|tables|Entries): (?P<names>.+)")


def mistake(error: Exception, query: Query) -> PipelineTypeError:
    """The mistake that DuckDB's binder reports."""
    text = str(error)
    for pattern, words in _MISSING:
        if match := pattern.search(text):
            name = match["name"]
            return PipelineTypeError(f"{_place(query, name)}: {words.format(name=name)}", _meant(name, text, query))
    if match := _UNGROUPED.search(text):
        name = match["name"]
        told = f"{_place(query, name)}: {name} is neither grouped nor aggregated"
        return PipelineTypeError(told, "add it to GROUP BY, or put it into an aggregate")
    if match := _MACRO.search(text):
        return PipelineTypeError(f"{query.origin}: types do not fit: {match['name']}(…)", "cast what it is called with")
    if match := _FITS.search(text):
        return PipelineTypeError(f"{query.origin}: types do not fit: {match['call']}", "cast one side")
    first = text.partition(": ")[2].partition("\n")[0]
    return PipelineTypeError(f"{query.origin}: {first or text}", "")


def require_distinct(names: Sequence[str], origin: str) -> None:
    """PipelineTypeError where two columns of a result have one name: no table can keep them apart."""
    twice = [name for name, times in Counter(name.lower() for name in names).items() if times > 1]
    if twice:
        where = f"{origin}: " if origin else ""
        raise PipelineTypeError(f"{where}two columns of the result are called {twice[0]}", "name one with AS")


def _place(query: Query, name: str) -> str:
    named = (node for node in query.tree.find_all(exp.Identifier) if node.name.lower() == name.lower())
    return place(query.origin, next(named, None))


def _meant(name: str, text: str, query: Query) -> str:
    match = _CANDIDATES.search(text)
    told = re.findall(r'"([^"]+)"', match["names"]) if match else []
    near = get_close_matches(name, [*told, *_column_names(query)], n=1) or told[:1]
    return f"did you mean {near[0]}?" if near else ""


def _column_names(query: Query) -> Iterator[str]:
    for relation in query.relations.values():
        yield from relation.schema.names
