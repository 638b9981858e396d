"""Grouped views kept up from changed rows alone: the queries that make, advance and read what is kept of each group.

What that is, per argument, stands in upkeep_parts.py. Values of `_d` and `_o` with their counts, and the values inside
of windows with theirs, are tables of their own, with columns `_v` and `_c`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from datalab.pipelines.aggregates import Kept
from datalab.pipelines.upkeep_parts import Part, added, advanced, built, center, deviations, result, stale, worn

_FREQUENT = "min_by(_v, named_struct('n', -_c, 'v', _v))"


class Upkeep:
    """The queries of one view, in the Spark dialect.

    Tables in them: `_rows` (keys `_k0 …`, arguments `_a0 …`), `_changes` (the same with `_w`, 1 for rows that came and
    -1 for rows that went), `_groups` (what is kept of each), `_counts` (values with their counts).
    """

    def __init__(self, kept: Kept, parts: Iterable[Part]) -> None:
        self._kept = kept
        self.parts = tuple(parts)
        self.keys = tuple(f"_k{number}" for number in range(len(kept.keys)))
        self.by = ", ".join(self.keys)

    def build(self) -> str:
        """All that one pass over the rows gives, per group."""
        columns = [self.by, "count(*) AS _n"]
        for part in self.parts:
            columns += built(part)
        return f"SELECT {', '.join(columns)} FROM _rows GROUP BY {self.by}"

    def edges(self) -> str:
        """The lowest and highest values alone, per group."""
        columns = [
            f"{edge}(_a{part.number}) AS _{name}{part.number}"
            for part in self.parts
            if part.ranged
            for edge, name in (("min", "lo"), ("max", "hi"))
        ]
        return f"SELECT {', '.join([self.by, *columns])} FROM _rows GROUP BY {self.by}"

    def counts(self, part: Part) -> str:
        """The values of an argument with their counts."""
        value = f"_a{part.number}"
        return (
            f"SELECT {self.by}, {value} AS _v, count(*) AS _c FROM _rows WHERE {value} IS NOT NULL "
            f"GROUP BY {self.by}, {value}"
        )

    def window(self, part: Part) -> str:
        """The values around the quantile with their counts; the value NULL stands for all that lie below."""
        j, value = part.number, f"r._a{part.number}"
        below = f"CASE WHEN {value} < g._wl{j} THEN NULL ELSE {value} END"
        joined = f"_rows r JOIN _groups g ON {self._same('r', 'g')}"
        return (
            f"SELECT {self._of('g')}, {below} AS _v, count(*) AS _c FROM {joined} "
            f"WHERE {value} <= g._wh{j} GROUP BY {self._of('g')}, {below}"
        )

    def summaries(self, part: Part) -> str:
        """Per group, what the table of counted values `_counts` says."""
        wanted = [self.by]
        if "distinct" in part.functions:
            wanted.append(f"count(*) AS _d{part.number}")
        if "mode" in part.functions:
            wanted.append(f"{_FREQUENT} AS _o{part.number}")
        return f"SELECT {', '.join(wanted)} FROM _counts GROUP BY {self.by}"

    def merged(self) -> str:
        """The table `_counts` with each value once; what is not there any more is left out."""
        return f"SELECT {self.by}, _v, sum(_c) AS _c FROM _counts GROUP BY {self.by}, _v HAVING sum(_c) <> 0"

    def differences(self, part: Part) -> str:
        """The values of an argument whose counts change, and by how much."""
        value = f"_a{part.number}"
        return (
            f"SELECT {self.by}, {value} AS _v, sum(_w) AS _c FROM _changes "
            f"WHERE {value} IS NOT NULL GROUP BY {self.by}, {value} HAVING sum(_w) <> 0"
        )

    def found(self, part: Part) -> str:
        """What is to be known of an argument per touched group, out of its `_differences` and what was kept.

        `_d`: how many more values there are, `_bad` where a count would fall below zero; `_o`: the most frequent
        value; `_db`: how many more lie below the window.
        """
        tables = [f"t AS (SELECT DISTINCT {self.by} FROM _differences)"]
        columns, joins = [self._of("t"), "true AS _touched"], []
        for function, name, make in self._findings(part.number):
            if function in part.functions:
                tables += make(part)
                columns.append(f"_{function}.{name}")
                joins.append(f"LEFT JOIN _{function} ON {self._same('t', '_' + function)}")
        return f"WITH {', '.join(tables)} SELECT {', '.join(columns)} FROM t {' '.join(joins)}"

    def _findings(self, j: int) -> tuple[tuple[str, str, Callable[[Part], list[str]]], ...]:
        return (
            ("distinct", f"_d{j}, _distinct._bad", self._appearing),
            ("mode", f"_o{j}", self._most_frequent),
            ("quantile", f"_db{j}", self._below),
        )

    def _appearing(self, part: Part) -> list[str]:
        old = (
            f"SELECT {self._of('q')}, q._v, sum(q._c) AS _c FROM _counts q WHERE EXISTS (SELECT 1 FROM _differences e "
            f"WHERE {self._same('e', 'q')} AND e._v <=> q._v) GROUP BY {self._of('q')}, q._v"
        )
        before, after = "coalesce(old._c, 0)", "coalesce(old._c, 0) + e._c"
        new = (
            f"SELECT {self._of('e')}, "
            f"count_if({after} > 0) - count_if({before} > 0) AS _d{part.number}, "
            f"count_if({after} < 0) AS _bad FROM _differences e "
            f"LEFT JOIN old ON {self._same('e', 'old')} AND e._v <=> old._v GROUP BY {self._of('e')}"
        )
        return [f"old AS ({old})", f"_distinct AS ({new})"]

    def _most_frequent(self, part: Part) -> list[str]:
        here = f"SELECT * FROM _counts q WHERE EXISTS (SELECT 1 FROM t WHERE {self._same('t', 'q')})"
        merged = (
            f"SELECT {self.by}, _v, sum(_c) AS _c FROM ({here} UNION ALL SELECT * FROM _differences) u "
            f"GROUP BY {self.by}, _v HAVING sum(_c) > 0"
        )
        return [
            f"s AS ({merged})",
            f"_mode AS (SELECT {self.by}, {_FREQUENT} AS _o{part.number} FROM s GROUP BY {self.by})",
        ]

    def _below(self, part: Part) -> list[str]:
        j = part.number
        lower = (
            f"SELECT {self._of('e')}, sum(e._c) AS _db{j} FROM _differences e "
            f"JOIN _groups g ON {self._same('e', 'g')} WHERE e._v < g._wl{j} GROUP BY {self._of('e')}"
        )
        return [f"_quantile AS ({lower})"]

    def inside(self, part: Part) -> str:
        """Those of the `_differences` that lie inside the window of their group."""
        j = part.number
        return (
            f"SELECT {self._of('e')}, e._v, e._c FROM _differences e JOIN _groups g ON {self._same('e', 'g')} "
            f"WHERE e._v >= g._wl{j} AND e._v <= g._wh{j}"
        )

    def central(self, part: Part) -> str:
        """Per group of `_groups`, the quantile out of the table `_counts` of its window; NULL where that ended."""
        j, share = part.number, part.share
        place = f"{share!r}D * (g._c{j} - 1)"
        running = f"sum(w._c) OVER (PARTITION BY {self._of('w')} ORDER BY w._v) + g._b{j} AS _upto"
        low, high = (f"min(CASE WHEN _upto > {edge}(_at) THEN _v END)" for edge in ("floor", "ceil"))
        first = "min(_b) <= floor(min(_at))"
        part_of = "min(_at) - floor(min(_at))"
        value = (
            f"CASE WHEN NOT {first} THEN NULL WHEN {part_of} = 0 THEN {low} "
            f"ELSE {low} * (1.0D - ({part_of})) + {high} * ({part_of}) END"
        )
        return (
            f"WITH x AS (SELECT {self._of('w')}, w._v, CAST({place} AS DOUBLE) AS _at, g._b{j} AS _b, {running} "
            f"FROM _counts w JOIN _groups g ON {self._same('w', 'g')} WHERE w._v IS NOT NULL AND g._c{j} > 0) "
            f"SELECT {self.by}, {value} AS _q{j} FROM x GROUP BY {self.by}"
        )

    def advanced(self) -> str:
        """What is kept of the touched groups after the change.

        `_stale` marks those to be computed again, `_worn` those whose lowest or highest value has to be looked up.

        Besides `_changes` and `_groups` it reads `_x<j>` (per group, what was found out about an argument).
        """
        columns = [self._of("p"), "coalesce(g._n, 0) + p._dn AS _n"]
        doubts, gone = ["_n < 0"], ["false"]
        joins = [f"LEFT JOIN _groups g ON {self._same('p', 'g')}"]
        if any(part.spread for part in self.parts):
            joins.append(f"LEFT JOIN m ON {self._same('p', 'm')}")
        for part in self.parts:
            columns += advanced(part)
            doubts += stale(part)
            gone += worn(part)
            if part.ranged:
                joins.append(f"LEFT JOIN {self._edges(part)} r{part.number} ON {self._same('p', f'r{part.number}')}")
            if part.counted or part.windowed:
                joins.append(f"LEFT JOIN _x{part.number} x{part.number} ON {self._same('p', f'x{part.number}')}")
        columns.append(f"({' OR '.join(gone)}) AS _worn")
        after = f"WITH {self._sums()} SELECT {', '.join(columns)} FROM p {' '.join(joins)}"
        return f"SELECT *, coalesce({' OR '.join(doubts)}, true) AS _stale FROM ({after}) a"

    def final(self) -> Mapping[str, str]:
        """What stands for each result `_r0 …` over a row of `_groups`."""
        by_number = {part.number: part for part in self.parts}
        return {
            f"_r{number}": result(call.function, by_number.get(call.argument))
            for number, call in enumerate(self._kept.calls)
        }

    def _of(self, table: str) -> str:
        return ", ".join(f"{table}.{key}" for key in self.keys)

    def _same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{key} <=> {right}.{key}" for key in self.keys)

    def same(self, left: str, right: str) -> str:
        """A condition: two rows are of one group, NULL equal to NULL."""
        return self._same(left, right)

    def _sums(self) -> str:
        """`p`: what is added per touched group; `m`: deviations of changed rows from the mean before."""
        columns = [self.by, "sum(_w) AS _dn", "count(*) AS _rows"]
        for part in self.parts:
            columns += added(part)
        sums = f"c AS (SELECT * FROM _changes), p AS (SELECT {', '.join(columns)} FROM c GROUP BY {self.by})"
        spreads = [part for part in self.parts if part.spread]
        if not spreads:
            return sums
        centers = ", ".join(f"{center(part)} AS _m{part.number}" for part in spreads)
        off = ", ".join(deviations(part) for part in spreads)
        return (
            f"{sums}, z AS (SELECT {self._of('p')}, {centers} FROM p LEFT JOIN _groups g ON {self._same('p', 'g')}), "
            f"m AS (SELECT {self._of('c')}, {off} FROM c JOIN z ON {self._same('c', 'z')} GROUP BY {self._of('c')})"
        )

    def _edges(self, part: Part) -> str:
        j = part.number
        sides = ", ".join(
            f"{edge}(CASE WHEN _c {sign} 0 THEN _v END) AS _{edge}_{side}"
            for edge in ("min", "max")
            for sign, side in ((">", "in"), ("<", "out"))
        )
        return f"(SELECT {self.by}, {sides} FROM ({self.differences(part)}) e{j} GROUP BY {self.by})"
