"""What is kept of a group for one argument of a view, as columns: how it is made, advanced, doubted and read.

Per argument j: `_c` (rows that are not NULL), `_s` (exact sum), `_t` and `_e` (sum of doubles, and a bound of its
error), `_v` and `_f` (sum of squared deviations, and a bound of its error), `_lo` and `_hi`, `_d` (how many values),
`_o` (the most frequent value), `_q` (a quantile), `_wl` and `_wh` (bounds of the window of values around it), `_b` (how
many lie below).

Sums of deviations are merged as in T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances" (1979). Here rows also leave: every step adds to a bound of the error, and a group whose
bound is too large for what it bounds is computed again from its rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from datalab.pipelines.aggregates import Kept

EPSILON = "2.3e-16D"
SUM_TOLERANCE, SPREAD_TOLERANCE = "1e-12D", "1e-9D"
WINDOW = 0.01
_SPREADS = frozenset({"stddev_samp", "stddev_pop", "var_samp", "var_pop"})
_SUMS = frozenset({"sum", "avg"}) | _SPREADS


@dataclass(frozen=True)
class Part:
    """What is kept for one argument. `kind` is integer, decimal or double where its values can be added, else empty."""

    number: int
    functions: frozenset[str]
    kind: str = ""
    scale: int = 0
    share: float = 0.5

    @property
    def counted(self) -> bool:
        """Whether the values are kept with their counts."""
        return bool(self.functions & {"distinct", "mode"})

    @property
    def windowed(self) -> bool:
        """Whether the values around a quantile are kept."""
        return "quantile" in self.functions

    @property
    def exact(self) -> bool:
        """Whether sums of its values are exact."""
        return self.kind in ("integer", "decimal")

    @property
    def summed(self) -> bool:
        """Whether its values are added."""
        return bool(self.functions & _SUMS)

    @property
    def spread(self) -> bool:
        """Whether deviations from the mean are kept."""
        return bool(self.functions & _SPREADS)

    @property
    def ranged(self) -> bool:
        """Whether the lowest and the highest value are kept."""
        return bool(self.functions & {"min", "max"})


def part_of(kept: Kept, number: int, schema: pa.Schema) -> Part | None:
    """What is to be kept for an argument of a view; `schema` tells its type. None where that forbids it."""
    kind = schema.field(f"_a{number}").type
    share = kept.arguments[number].share
    part = Part(number, kept.functions(number), *_kind(kind), share=0.5 if share is None else share)
    if (part.summed and not part.kind) or pa.types.is_nested(kind):
        return None
    return part


def _kind(kind: pa.DataType) -> tuple[str, int]:
    if pa.types.is_integer(kind):
        return "integer", 0
    if pa.types.is_decimal(kind):
        return "decimal", kind.scale
    return ("double", 0) if pa.types.is_floating(kind) else ("", 0)


def kept_columns(part: Part) -> list[tuple[str, pa.DataType | None]]:
    """The columns and their types; None stands for the type of the argument."""
    j, number, double = part.number, pa.int64(), pa.float64()
    wanted: list[tuple[bool, str, pa.DataType | None]] = [
        (True, f"_c{j}", number),
        (part.summed and part.exact, f"_s{j}", pa.decimal128(38, part.scale)),
        (part.summed and not part.exact, f"_t{j}", double),
        (part.summed and not part.exact, f"_e{j}", double),
        (part.spread, f"_v{j}", double),
        (part.spread, f"_f{j}", double),
        (part.ranged, f"_lo{j}", None),
        (part.ranged, f"_hi{j}", None),
        ("distinct" in part.functions, f"_d{j}", number),
        ("mode" in part.functions, f"_o{j}", None),
        *((part.windowed, f"_{name}{j}", double) for name in ("q", "wl", "wh")),
        (part.windowed, f"_b{j}", number),
    ]
    return [(name, kind) for held, name, kind in wanted if held]


def built(part: Part) -> list[str]:
    """Columns that one pass over the rows gives."""
    j, value = part.number, f"_a{part.number}"
    columns = [f"count({value}) AS _c{j}"]
    if part.summed and part.exact:
        columns.append(f"CAST(coalesce(sum({value}), 0) AS DECIMAL(38, {part.scale})) AS _s{j}")
    if part.summed and part.kind == "double":
        columns += [f"coalesce(sum({value}), 0.0D) AS _t{j}", f"0.0D AS _e{j}"]
    if part.spread:
        columns += [f"coalesce(var_pop({value}), 0.0D) * count({value}) AS _v{j}", f"0.0D AS _f{j}"]
    if part.ranged:
        columns += [f"min({value}) AS _lo{j}", f"max({value}) AS _hi{j}"]
    if part.windowed:
        below, above = max(part.share - WINDOW, 0.0), min(part.share + WINDOW, 1.0)
        columns += [
            f"percentile({value}, {part.share!r}) AS _q{j}",
            f"percentile_approx({value}, {below!r}) AS _wl{j}",
            f"percentile_approx({value}, {above!r}) AS _wh{j}",
        ]
    return columns


def added(part: Part) -> list[str]:
    """Columns that are added up over the changed rows of a group."""
    j, value = part.number, f"_a{part.number}"
    columns = [f"sum(CASE WHEN {value} IS NOT NULL THEN _w ELSE 0 END) AS _dc{j}"]
    came, went = (f"sum(CASE WHEN _w {sign} 0 THEN {value} END)" for sign in (">", "<"))
    if part.summed and part.exact:
        kind = f"DECIMAL(38, {part.scale})"
        columns.append(f"CAST(coalesce({came}, 0) AS {kind}) - CAST(coalesce({went}, 0) AS {kind}) AS _ds{j}")
    if part.summed and part.kind == "double":
        columns.append(f"coalesce({came}, 0.0D) - coalesce({went}, 0.0D) AS _dt{j}")
        columns.append(f"coalesce(sum(abs({value})), 0.0D) AS _da{j}")
    return columns


def center(part: Part) -> str:
    """The mean before the change; of a new group that of the rows that came."""
    j = part.number
    name = "s" if part.exact else "t"
    total, more = _real(f"g._{name}{j}", part), _real(f"p._d{name}{j}", part)
    return (
        f"coalesce(CASE WHEN g._c{j} > 0 THEN {total} / g._c{j} END, "
        f"CASE WHEN p._dc{j} > 0 THEN {more} / p._dc{j} END, 0.0D)"
    )


def _real(value: str, part: Part) -> str:
    """A value as a double. A cast that changes nothing is left out: it would take longest of all to plan."""
    return f"CAST({value} AS DOUBLE)" if part.exact else value


def deviations(part: Part) -> str:
    """Sums over changed rows of their distance from the mean `_m`: plain, squared, and squared without sign."""
    j = part.number
    off = f"({_real(f'c._a{j}', part)} - z._m{j})"
    return (
        f"coalesce(sum(c._w * {off}), 0.0D) AS _d1{j}, coalesce(sum(c._w * {off} * {off}), 0.0D) AS _d2{j}, "
        f"coalesce(sum({off} * {off}), 0.0D) AS _d3{j}"
    )


def _count(part: Part) -> str:
    return f"(coalesce(g._c{part.number}, 0) + p._dc{part.number})"


def _sum(part: Part) -> str:
    return f"(coalesce(g._t{part.number}, 0.0D) + p._dt{part.number})"


def _sum_error(part: Part) -> str:
    j = part.number
    step = f"abs(coalesce(g._t{j}, 0.0D)) + abs({_sum(part)}) + p._da{j} * p._rows"
    return f"(coalesce(g._e{j}, 0.0D) + {EPSILON} * ({step}))"


def _spread(part: Part) -> str:
    """Sum of squared deviations from the new mean, out of those from the old one."""
    j, count = part.number, _count(part)
    shift = f"CASE WHEN {count} > 0 THEN m._d1{j} * m._d1{j} / {count} ELSE 0.0D END"
    return f"(coalesce(g._v{j}, 0.0D) + m._d2{j} - {shift})"


def _spread_error(part: Part) -> str:
    j, count = part.number, _count(part)
    shift = f"CASE WHEN {count} > 0 THEN m._d1{j} * m._d1{j} / {count} ELSE 0.0D END"
    off = f" + 4 * abs(m._d1{j}) * coalesce(g._e{j}, 0.0D)" if part.kind == "double" else ""
    step = f"coalesce(g._v{j}, 0.0D) + (m._d3{j} + {shift}) * p._rows"
    return f"(coalesce(g._f{j}, 0.0D) + 4 * {EPSILON} * ({step}){off})"


def advanced(part: Part) -> list[str]:
    """Columns after a change."""
    j = part.number
    columns = [f"{_count(part)} AS _c{j}"]
    if part.summed and part.exact:
        columns.append(f"coalesce(g._s{j}, 0) + p._ds{j} AS _s{j}")
    if part.summed and part.kind == "double":
        columns += [f"{_sum(part)} AS _t{j}", f"{_sum_error(part)} AS _e{j}"]
    if part.spread:
        columns += [f"greatest({_spread(part)}, 0.0D) AS _v{j}", f"{_spread_error(part)} AS _f{j}"]
    if part.ranged:
        columns += [f"least(g._lo{j}, r{j}._min_in) AS _lo{j}", f"greatest(g._hi{j}, r{j}._max_in) AS _hi{j}"]
    if "distinct" in part.functions:
        columns.append(f"coalesce(g._d{j}, 0) + coalesce(x{j}._d{j}, 0) AS _d{j}")
    if "mode" in part.functions:
        columns.append(f"CASE WHEN x{j}._touched THEN x{j}._o{j} ELSE g._o{j} END AS _o{j}")
    if part.windowed:
        columns += [f"CAST(NULL AS DOUBLE) AS _q{j}", f"g._wl{j} AS _wl{j}", f"g._wh{j} AS _wh{j}"]
        columns.append(f"coalesce(g._b{j}, 0) + coalesce(x{j}._db{j}, 0) AS _b{j}")
    return columns


def stale(part: Part) -> list[str]:
    """Conditions, over the columns after a change, under which a group has to be computed again."""
    j = part.number
    reasons = [f"_c{j} < 0"]
    if part.summed and part.kind == "double":
        reasons.append(f"NOT (_e{j} <= {SUM_TOLERANCE} * abs(_t{j}))")
        reasons.append(f"NOT (abs(_t{j}) < CAST('Infinity' AS DOUBLE))")  # nothing can be taken off such a sum
    if part.spread:
        reasons.append(f"(_c{j} > 1 AND NOT (_f{j} <= {SPREAD_TOLERANCE} * _v{j}))")
    if part.windowed:
        reasons.append(f"(_wl{j} IS NULL AND _c{j} > 0)")
    return reasons


def worn(part: Part) -> list[str]:
    """Conditions under which the lowest or highest value went, and no value came that takes its place."""
    if not part.ranged:
        return []
    j = part.number
    low = f"r{j}._min_out <= g._lo{j} AND NOT coalesce(r{j}._min_in <= g._lo{j}, false)"
    high = f"r{j}._max_out >= g._hi{j} AND NOT coalesce(r{j}._max_in >= g._hi{j}, false)"
    return [f"coalesce({low}, false)", f"coalesce({high}, false)"]


def result(function: str, part: Part | None) -> str:
    """The value of an aggregate over a row of what is kept; `part` None for `count(*)`."""
    if part is None:
        return "_n"
    j = part.number
    total = _real(f"_s{j}" if part.exact else f"_t{j}", part)
    whole = f"CAST(_s{j} AS BIGINT)" if part.kind == "integer" else f"_s{j}"
    return {
        "count": f"_c{j}",
        "sum": f"CASE WHEN _c{j} > 0 THEN {whole if part.exact else total} END",
        "avg": f"CASE WHEN _c{j} > 0 THEN {total} / _c{j} END",
        "var_pop": f"CASE WHEN _c{j} > 0 THEN _v{j} / _c{j} END",
        "var_samp": f"CASE WHEN _c{j} > 1 THEN _v{j} / (_c{j} - 1) END",
        "stddev_pop": f"CASE WHEN _c{j} > 0 THEN sqrt(_v{j} / _c{j}) END",
        "stddev_samp": f"CASE WHEN _c{j} > 1 THEN sqrt(_v{j} / (_c{j} - 1)) END",
        "min": f"_lo{j}",
        "max": f"_hi{j}",
        "distinct": f"_d{j}",
        "mode": f"_o{j}",
        "quantile": f"_q{j}",
    }[function]
