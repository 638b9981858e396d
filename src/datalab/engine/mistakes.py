"""Mistakes in a query that show when it is bound to its tables: what is wrong, on which line, and what was meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import pyarrow as pa
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
_NO_ARRAY = re.compile(r"argument types 'array_length\((?P<type>[^']+)\)'")
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
    if match := _NO_ARRAY.search(text):
        return _no_array(match["type"], query)
    if match := _FITS.search(text):
        return PipelineTypeError(f"{query.origin}: types do not fit: {match['call']}", "cast one side")
    if "date minus date" in text:
        difference = query.tree.find(exp.Sub)
        return PipelineTypeError(
            f"{place(query.origin, difference)}: a date minus a date is an INTERVAL in Spark", "write datediff(…, …)"
        )
    first = text.partition(": ")[2].partition("\n")[0]
    return PipelineTypeError(f"{query.origin}: {first or text}", "")


def require_distinct(names: Sequence[str], origin: str) -> None:
    """PipelineTypeError where two columns of a result have one name: no table can keep them apart."""
    twice = [name for name, times in Counter(name.lower() for name in names).items() if times > 1]
    if twice:
        where = f"{origin}: " if origin else ""
        raise PipelineTypeError(f"{where}two columns of the result are called {twice[0]}", "name one with AS")


def _no_array(kind: str, query: Query) -> PipelineTypeError:
    """Size, brackets or element_at over something else. DuckDB does not say where: known arrays are passed over."""
    arrays = {
        field.name.lower()
        for relation in query.relations.values()
        for field in relation.schema
        if pa.types.is_list(field.type) or pa.types.is_map(field.type)
    }
    called = [node for node in query.tree.walk() if _wants_array(node)]
    known = (exp.Array, exp.ArrayAgg, exp.ArrayUniqueAgg, exp.RegexpSplit)
    doubtful = [
        node for node in called if not (isinstance(_argument(node), known) or _argument(node).name.lower() in arrays)
    ]
    node = next(iter(doubtful or called), None)
    what = "size(…)" if isinstance(node, exp.ArraySize) else "an element"
    told = "VARCHAR" if kind == "STRING_LITERAL" else kind
    if kind.startswith("MAP("):
        told, hint = "a map that is not known as one", "leave the column its own name, or take map_keys(…)"
    else:
        hint = "only arrays and maps have that"
    return PipelineTypeError(f"{place(query.origin, node)}: {what} of {told}", hint)


def _wants_array(node: exp.Expr) -> bool:
    named = isinstance(node, exp.Anonymous) and node.name.lower() == "get"
    return named or isinstance(node, exp.ArraySize | exp.Bracket)


def _argument(node: exp.Expr) -> exp.Expr:
    argument: exp.Expr = node.expressions[0] if isinstance(node, exp.Anonymous) else node.this
    return argument


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
