"""Spark's SQL turned into DuckDB's, on parsed trees: what has an equal is translated, all else is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlglot import exp

from datalab.engine.dialect import clauses, numbers, operators, rows, texts, times, unnesting
from datalab.engine.dialect.functions import (
    CALLS,
    IGNORED_ARGUMENTS,
    INTEGER_WINDOWS,
    NAMED,
    PLAIN_AGGREGATES,
    SAME,
    STRUCTURE,
    UNREPEATABLE,
)
from datalab.engine.dialect.kinds import convert
from datalab.engine.dialect.newest import share_rows
from datalab.engine.dialect.nodes import Refused, Rewrite, call, cast
from datalab.engine.dialect.spreads import mend_spreads
from datalab.engine.dialect.structs import order_structs
from datalab.engine.places import place
from datalab.errors import UntranslatableFunction

REWRITES: dict[type[exp.Expr], Rewrite] = {
    **numbers.REWRITES,
    **texts.REWRITES,
    **times.REWRITES,
    **rows.REWRITES,
    **clauses.REWRITES,
    **operators.REWRITES,
    exp.Lateral: unnesting.lateral,
    exp.Aliases: unnesting.aliases,
}
_ENGINE = "DuckDB"
_CALL = re.compile(r"(?P<name>\w*)\((?P<arguments>.*)\)(::(?P<type>\w+))?\Z")
_NAMED_ALREADY = (exp.Alias, exp.Aliases, exp.Column, exp.Star, exp.Dot, exp.Explode, exp.Literal)
_WORDS: dict[type[exp.Expr], str] = {
    exp.Schema: "TRANSFORM … USING",
    exp.QueryTransform: "TRANSFORM … USING",
    exp.Lock: "FOR UPDATE",
    exp.Join: "SELECT * over NATURAL JOIN, or over JOIN … USING in brackets",
    exp.Lateral: "LATERAL, or LEFT JOIN LATERAL … ON true",
    exp.BitwiseAnd: "& beside ^ or | without brackets",
    exp.BitwiseXor: "^ beside | without brackets",
    exp.DPipe: "|| beside +, - or | without brackets",
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE), "a = b < c without brackets"),
    exp.Literal: "a number of more than 38 digits",
    exp.Sub: "a date minus a date",
    exp.In: "IN (SELECT …) under NOT",
    exp.Group: "GROUP BY … WITH",
    exp.Aliases: "AS (…, …)",
}
_NOW = frozenset({"now", "current_timestamp"})
_TODAY = frozenset({"curdate", "current_date"})


def translate(tree: exp.Expr, now: datetime, origin: str) -> exp.Expr:
    """A copy of a Spark tree that means the same in DuckDB; `now` stands for the clock. UntranslatableFunction."""
    root = exp.Paren(this=tree.copy())
    clauses.drop_hints(root)
    name_results(root)
    clauses.filter_lists(root)
    clauses.write_out_all(root)
    clauses.order_by_results(root)
    order_structs(root)
    mend_spreads(root)
    share_rows(root)
    for node in reversed(list(root.this.walk())):
        try:
            translated = _translated(node, now)
        except Refused as refused:
            raise UntranslatableFunction(f"{place(origin, node)}: {refused.what}", refused.hint) from None
        if translated is None:
            raise _untranslatable(node, origin)
        if translated is not node:
            node.replace(translated)
    made: exp.Expr = root.this
    return made


def sql_of(tree: exp.Expr) -> str:
    """The text of a translated tree."""
    return tree.sql(dialect="duckdb", comments=False)


def is_repeatable(tree: exp.Expr) -> bool:
    """Whether a query answers the same rows when it is computed twice at the same moment."""
    return not tree.find(*UNREPEATABLE)


def name_results(root: exp.Expr) -> None:
    """Columns without a name are called as they are written, whatever they are translated to."""
    for select in root.find_all(exp.Select):
        for projection in select.expressions:
            if not isinstance(projection, _NAMED_ALREADY):
                name = projection.sql(dialect="spark", comments=False).lower()
                projection.replace(exp.alias_(projection.copy(), name, quoted=True))


def _translated(node: exp.Expr, now: datetime) -> exp.Expr | None:
    if type(node) in STRUCTURE:
        return node
    for handles, translate_node in _GROUPS:
        if handles(node):
            return translate_node(node)
    return _clock(node, now) if _is_clock(node) else _named(node)


def _is_clock(node: exp.Expr) -> bool:
    named = isinstance(node, exp.Anonymous) and node.name.lower() in _NOW | _TODAY
    return named or isinstance(node, exp.CurrentTimestamp | exp.CurrentDate)


def _clock(node: exp.Expr, now: datetime) -> exp.Expr:
    moment = cast(exp.Literal.string(now.astimezone(UTC).isoformat(sep=" ")), "TIMESTAMPTZ")
    is_today = isinstance(node, exp.CurrentDate) or node.name.lower() in _TODAY
    return convert(moment, "date") if is_today else moment


def _window(node: exp.Window) -> exp.Expr | None:
    """OVER may follow what is still one call. Positions are INT in Spark and BIGINT in DuckDB."""
    if isinstance(node.this, INTEGER_WINDOWS):
        return cast(node.copy(), "INT")
    windowed = isinstance(node.this, exp.Identifier | exp.IgnoreNulls | exp.Filter)
    return node if windowed or _is_one_call(node.this) else None


def _filter(node: exp.Filter) -> exp.Expr | None:
    return node if _is_one_call(node.this) else None


def _is_one_call(node: exp.Expr) -> bool:
    return type(node) in SAME or (isinstance(node, exp.Anonymous) and node.name in PLAIN_AGGREGATES)


def _called(node: exp.Expr) -> exp.Expr | None:
    spec = CALLS[type(node)]
    known = set(re.findall(r"[(\s](\w+)", spec)) | IGNORED_ARGUMENTS
    if any(value for name, value in node.args.items() if name not in known):
        return None
    return _call_of(spec, node.args.get)


def _named(node: exp.Expr) -> exp.Expr | None:
    """A function that sqlglot knows by name only."""
    if not isinstance(node, exp.Anonymous):
        return None
    name, given = node.name.lower(), node.expressions
    if name in ("isnull", "isnotnull") and len(given) == 1:
        missing = exp.paren(exp.Is(this=given[0], expression=exp.Null()))
        return missing if name == "isnull" else exp.paren(exp.Not(this=missing))
    if name == "date_part" and len(given) == 2:
        return times.field_of(given[0].name, given[1])
    spec = NAMED.get(name)
    if spec is None or len(given) != len(set(re.findall(r"\d", spec.split("::", maxsplit=1)[0]))):
        return None
    return _call_of(spec, lambda position: given[int(position)])


def _call_of(spec: str, argument: Callable[[str], exp.Expr | None]) -> exp.Expr:
    match = _CALL.match(spec)
    assert match is not None
    arguments = [_argument(part, argument) for part in match["arguments"].split(", ")]
    made = call(match["name"], *arguments) if match["name"] else exp.paren(arguments[0])
    return cast(made, match["type"]) if match["type"] else made


def _argument(part: str, argument: Callable[[str], exp.Expr | None]) -> exp.Expr:
    name, _, default = part.partition("|")
    name, _, conversion = name.partition(":")
    value = argument(name)
    if value is None:
        return exp.Literal.string("") if default == "''" else exp.Literal.number(default)
    return convert(value, conversion) if conversion else value


def _untranslatable(node: exp.Expr, origin: str) -> UntranslatableFunction:
    name = node.name if isinstance(node, exp.Anonymous) else node.sql(dialect="spark").partition("(")[0].strip()
    name = name or node.key
    if isinstance(node, exp.Filter | exp.Window):
        name = f"{name.lower().removeprefix('spark_')}(…) {'FILTER' if isinstance(node, exp.Filter) else 'OVER'}"
    what = f"{name.lower()}(…)" if isinstance(node, exp.Func) else f"'{_WORDS.get(type(node), name)}'"
    return UntranslatableFunction(
        f"{place(origin, node)}: {what} has no equal in {_ENGINE}",
        "write it with other functions; docs/engine.md lists those that are translated",
    )


_GROUPS: tuple[tuple[Callable[[exp.Expr], bool], Callable[[Any], exp.Expr | None]], ...] = (
    (lambda node: isinstance(node, exp.Window), _window),
    (lambda node: isinstance(node, exp.Filter), _filter),
    (lambda node: isinstance(node, exp.Explode), unnesting.explode),
    (lambda node: type(node) in REWRITES, lambda node: REWRITES[type(node)](node)),
    (lambda node: type(node) in CALLS, _called),
    (lambda node: type(node) in SAME, lambda node: node),
)
