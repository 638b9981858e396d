"""Sums that do not depend on the order of rows, so that a training set can be made again with the same bytes.

Doubles added in another order differ in their last digits, and engines add in any order. Here each value is cut into
two whole numbers, its leading and its following bits under a scale common to all; whole numbers add up exactly. A
value keeps its bits to 60 below the largest magnitude in the table. Spread is computed from differences to the
first value of each group, so that little cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from datalab.features.derivation import MOMENTS, Derivation, refuse

_FREE = (
    exp.Count, exp.CountIf, exp.Min, exp.Max, exp.ArgMax, exp.ArgMin, exp.Mode, exp.Median, exp.Quantile,
    exp.PercentileCont, exp.ApproxQuantile, exp.ApproxDistinct, exp.LogicalAnd, exp.LogicalOr, exp.ArrayAgg,
    exp.ArrayUniqueAgg, exp.GroupConcat,
)  # fmt: skip
_SUMS = (exp.Sum, exp.Avg)
_SPREADS = (exp.Stddev, exp.StddevSamp, exp.StddevPop, exp.Variance, exp.VariancePop)
_POPULATION = (exp.StddevPop, exp.VariancePop)
_VARIANCE = (exp.Variance, exp.VariancePop)
_LARGEST = 1.7976931348623157e308
_SQUARABLE = 1e150
_STEEPEST = 800


@dataclass(frozen=True)
class Summed:
    """An argument that is added up, over the input of the GROUP BY; `spread`: its squares are, too.

    `magnitude` is the largest over the whole table, `finite` says whether all of it is.
    """

    argument: exp.Expr
    spread: bool = False
    magnitude: float = 0.0
    finite: bool = True


def summed(derivation: Derivation) -> tuple[Summed, ...]:
    """What is added up. FeatureError for aggregates whose answer depends on the order of rows."""
    found: dict[str, Summed] = {}
    for node in _aggregates(derivation.grouped):
        if isinstance(node, _FREE):
            continue
        if not isinstance(node, _SUMS + _SPREADS) or isinstance(node.this, exp.Distinct):
            refuse(derivation.definition, f"{node.sql('spark')} may depend on the order of rows")
        before = found.get(_key(node), Summed(node.this))
        found[_key(node)] = Summed(node.this, before.spread or isinstance(node, _SPREADS))
    return tuple(found.values())


def bounds(parts: Sequence[Summed]) -> list[exp.Expr]:
    """Aggregates over a whole table: for each part its largest finite magnitude, and how many values are not finite."""
    asked: list[exp.Expr] = []
    for number, part in enumerate(parts):
        value = part.argument
        largest = exp.Max(this=exp.Abs(this=_only(_is_finite(value), value)))
        odd = exp.CountIf(this=exp.not_(exp.paren(_is_finite(value))))
        asked += [exp.alias_(largest, f"largest_{number}"), exp.alias_(odd, f"odd_{number}")]
    return asked


def centres(parts: Sequence[Summed], since: exp.Expr) -> list[exp.Expr]:
    """Aggregates over a group: the first value of each part whose spread is wanted, named as `centre_names`.

    `since` is from when on a row counts. The first one counts at every moment at which any does: what comes later,
    however large, takes no digit from the answer of an earlier moment.
    """
    firsts = []
    for number, part in _spread(parts):
        when = _only(_is_finite(part.argument), since)
        first = exp.ArgMin(this=part.argument.copy(), expression=when)
        firsts.append(exp.alias_(exp.cast(first, "double"), f"datalab_c{number}"))
    return firsts


def centre_names(parts: Sequence[Summed]) -> list[str]:
    """The columns of the moments that hold the centres."""
    return [f"datalab_c{number}" for number, _ in _spread(parts)]


def exactly(select: exp.Select, parts: Sequence[Summed], rows: int) -> None:
    """Let a grouping SELECT add up exactly, in place; `rows` is the most that a group can have."""
    known = {part.argument.sql("spark"): (n, part) for n, part in enumerate(parts) if not _too_large(part)}
    for node in _aggregates(select):
        if isinstance(node, _SUMS + _SPREADS) and _key(node) in known:
            outer = node.parent if isinstance(node.parent, exp.Filter) else node
            condition = outer.expression.this if isinstance(outer, exp.Filter) else None
            outer.replace(_exact(node, *known[_key(node)], _Adder(rows), condition))


def _exact(node: exp.Expr, number: int, part: Summed, adder: _Adder, condition: exp.Expr | None) -> exp.Expr:
    plain = part.argument.copy() if condition is None else _only(condition, part.argument)
    value = plain if part.finite else _only(_is_finite(plain), plain)
    if isinstance(node, _SPREADS):
        centre = exp.column(f"datalab_c{number}", MOMENTS)
        made = _spread_of(node, exp.paren(exp.Sub(this=value, expression=centre)), part.magnitude, adder)
    else:
        total = adder.total(value, part.magnitude)
        made = _per(total, _count(value)) if isinstance(node, exp.Avg) else total
    if part.finite:
        return exp.paren(made)
    fallback = type(node)(this=plain.copy())
    odd = exp.CountIf(this=exp.not_(exp.paren(_is_finite(plain))))
    return exp.paren(exp.Case().when(exp.GT(this=odd, expression=exp.Literal.number(0)), fallback).else_(made))


def _spread_of(node: exp.Expr, difference: exp.Expr, magnitude: float, adder: _Adder) -> exp.Expr:
    """Variance or its root: (Σd² - (Σd)²/n) / (n - 1), or / n."""
    square = exp.paren(exp.Mul(this=difference.copy(), expression=difference.copy()))
    squares, total = adder.total(square, 4 * magnitude * magnitude), adder.total(difference, 2 * magnitude)
    count = _count(difference)
    whole = exp.Sub(this=squares, expression=_per(exp.Mul(this=total, expression=total.copy()), count))
    kept = exp.Greatest(this=exp.paren(whole), expressions=[_number(0.0)])
    population = isinstance(node, _POPULATION)
    divisor = count if population else exp.paren(exp.Sub(this=count, expression=exp.Literal.number(1)))
    share = _per(kept, divisor)
    answer = share if isinstance(node, _VARIANCE) else exp.Sqrt(this=share)
    enough = exp.GT(this=count.copy(), expression=exp.Literal.number(0 if population else 1))
    return exp.Case().when(enough, answer)


class _Adder:
    """Builds sums of so many rows out of whole numbers that cannot overflow 64 bits."""

    def __init__(self, rows: int) -> None:
        self._bits = 62 - max(1, rows).bit_length()

    def total(self, value: exp.Expr, magnitude: float) -> exp.Expr:
        """The sum of doubles no larger than `magnitude`, to within the last digit; NULL where there is none."""
        exponent = math.frexp(magnitude)[1]
        shift = max(-_STEEPEST, min(_STEEPEST, self._bits - exponent))
        scaled = exp.paren(_times(value.copy(), 2.0**shift))
        leading = exp.Floor(this=scaled)
        rest = exp.Sub(this=scaled.copy(), expression=leading.copy())
        following = exp.Floor(this=_times(rest, 2.0**self._bits))
        high = _times(exp.Sum(this=leading), 2.0**-shift)
        low = _times(exp.Sum(this=following), 2.0 ** (-shift - self._bits))
        return exp.paren(exp.Add(this=high, expression=low))


def _aggregates(select: exp.Select) -> list[exp.Expr]:
    parts = [*select.expressions, *([select.args["having"]] if select.args.get("having") else [])]
    return [node for part in parts for node in part.walk() if isinstance(node, exp.AggFunc)]


def _key(node: exp.Expr) -> str:
    text: str = node.this.sql("spark")
    return text


def _too_large(part: Summed) -> bool:
    """Squares that no double holds: the engine's own answer is as good as any."""
    return part.spread and part.magnitude > _SQUARABLE


def _spread(parts: Sequence[Summed]) -> list[tuple[int, Summed]]:
    return [(number, part) for number, part in enumerate(parts) if part.spread]


def _count(value: exp.Expr) -> exp.Expr:
    return exp.Count(this=value.copy(), big_int=True)


def _per(value: exp.Expr, count: exp.Expr) -> exp.Expr:
    return exp.paren(exp.Div(this=value, expression=exp.Nullif(this=count.copy(), expression=exp.Literal.number(0))))


def _only(condition: exp.Expr, value: exp.Expr) -> exp.Expr:
    return exp.Case().when(condition.copy(), value.copy())


def _is_finite(value: exp.Expr) -> exp.Expr:
    """NaN is greater than every number."""
    return exp.LTE(this=exp.Abs(this=value.copy()), expression=_number(_LARGEST))


def _times(value: exp.Expr, factor: float) -> exp.Expr:
    return exp.Mul(this=exp.paren(value), expression=_number(factor))


def _number(value: float) -> exp.Expr:
    """A double that reads back as the same: with an exponent it is no decimal in any dialect."""
    return exp.Literal.number(f"{value:.17e}")


def measured(parts: Sequence[Summed], answer: Mapping[str, float | None]) -> tuple[Summed, ...]:
    """The parts with what `bounds` answered."""
    known = []
    for number, part in enumerate(parts):
        largest = answer[f"largest_{number}"] or 0.0
        finite = not answer[f"odd_{number}"]
        known.append(Summed(part.argument, part.spread, largest, finite))
    return tuple(known)
