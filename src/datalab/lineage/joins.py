"""What a join says of the rows of one side: which columns of the other sides equal an expression over its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from datalab.lineage.resolve import conjuncts

ANTI = "ANTI"
_EQUAL = (exp.EQ, exp.NullSafeEQ)


@dataclass(frozen=True)
class Join:
    """How a source is joined to those before it: side LEFT, RIGHT, FULL or none; kind INNER, SEMI, ANTI, CROSS."""

    side: str = ""
    kind: str = ""
    on: tuple[exp.Expr, ...] = ()

    @property
    def restricts(self) -> tuple[exp.Expr, ...]:
        """The parts of ON that every row of this source met, if it came through."""
        return self.on if self.side in ("", "LEFT") and self.kind != ANTI else ()


def joined(tree: exp.Select) -> Mapping[str, Join]:
    """The joins of a SELECT by the name of the source that each brings."""
    return {
        join.alias_or_name: Join(join.side.upper(), join.kind.upper(), tuple(conjuncts(join.args.get("on"))))
        for join in tree.args.get("joins") or ()
    }


def equalities(tree: exp.Select, joins: Mapping[str, Join], source: str) -> Mapping[str, list[exp.Expr]]:
    """For columns of any source: what they equal in every row to which `source` gave a part, by the column's text.

    Not where an outer join may have put NULL in the place of one side.
    """
    where = tree.args.get("where")
    found: dict[str, list[exp.Expr]] = {}
    for part in conjuncts(where.this if where else None):
        for column, other in _sides(part):
            found.setdefault(column.sql(), []).append(other)
    for name, join in joins.items():
        for column, other in (pair for part in join.on for pair in _sides(part)):
            if _holds(column, name, join, source):
                found.setdefault(column.sql(), []).append(other)
    return found


def _sides(part: exp.Expr) -> Iterator[tuple[exp.Column, exp.Expr]]:
    """A column and what it equals, both ways round."""
    if isinstance(part, _EQUAL):
        for one, other in ((part.this, part.expression), (part.expression, part.this)):
            if isinstance(one, exp.Column):
                yield one, other


def _holds(column: exp.Column, name: str, join: Join, source: str) -> bool:
    """Whether ON holds in each result row that has a row of `source`, so that it tells `column`."""
    if join.kind == ANTI:
        return False
    if not join.side or source == name:
        return join.side in ("", "LEFT") or (join.side == "RIGHT" and column.table == name)
    return join.side == "RIGHT" and source != name
