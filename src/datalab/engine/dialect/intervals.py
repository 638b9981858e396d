"""Intervals: of one unit or of several, which Spark takes where all are months and years, or all are days and less."""

from __future__ import annotations

import re

from sqlglot import exp

from datalab.engine.dialect.nodes import Refused, text_of

_MONTHS = frozenset({"MONTH", "YEAR"})
_PART = re.compile(r"[+-]?\s*\d+(?:\.\d+)?\s*([a-z]+)", re.IGNORECASE)


def units_of(node: exp.Expr) -> frozenset[str]:
    """The units of an interval, in the singular and in capitals; none where it is something else. Refused."""
    units = _units(node)
    if units & _MONTHS and units - _MONTHS:
        raise Refused(
            "an interval of months and of days, whose length depends on what it is added to",
            "add one after the other: … + INTERVAL 1 MONTH + INTERVAL 2 DAYS",
        )
    return units


def _units(node: exp.Expr) -> frozenset[str]:
    node = node.unnest()
    if isinstance(node, exp.Add):  # several units stand in the tree as a sum
        sides = _units(node.this), _units(node.expression)
        return sides[0] | sides[1] if all(sides) else frozenset()
    if not isinstance(node, exp.Interval):
        return frozenset()
    unit = node.args.get("unit")
    names = [unit.name] if unit is not None else _PART.findall(text_of(node.this) or "")
    return frozenset(name.upper().removesuffix("S") for name in names) or frozenset({"DAY"})
