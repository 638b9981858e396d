"""What the columns of a query are over the rows of one table that it reads: the ways along which keys are followed.

A query reads a table at one or more places. For each of them there is a strand: for every column of the result the
expression over that table's rows that it equals, where there is one. Keys of the result are then conditions on the
table's rows, and a row of the table tells the keys of the results that it entered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from datalab.engine.aggregates import has_aggregate, is_aggregate
from datalab.lineage.joins import ANTI, Join, equalities, joined
from datalab.lineage.resolve import conjuncts, own_nodes, table_of
from datalab.names import TableName

INPUT = "input_row"
_OPAQUE = (exp.Window, exp.Query, exp.Explode, exp.Posexplode, exp.Inline, exp.Unnest)

Expressions = Mapping[str, exp.Expr | None]


@dataclass(frozen=True)
class Strand:
    """One place where a query reads `table`. Columns of that table stand as `input_row.column` in all expressions.

    `columns`: each column of the result over the table's rows; None where it is not made of one of them alone.
    `conditions` hold for every row that had a part in the result. `summed`: a row of the result stands for a group.
    `partial`: in a row that sums up several groups the key is NULL, so NULL tells nothing. `notes` say what else has a
    part in the result; `unheeded`: rows of this place only decide which others come through.
    """

    table: TableName
    columns: Expressions
    conditions: tuple[exp.Expr, ...] = ()
    summed: bool = False
    partial: bool = False
    unheeded: bool = False
    notes: tuple[str, ...] = field(default=())

    def noting(self, *notes: str) -> Strand:
        """The same with more notes, each once."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))


def strands(scope: Scope) -> tuple[Strand, ...]:
    """All places where a resolved query reads a table of the lake."""
    return tuple(_strands(scope, ()))


def over(expression: exp.Expr, columns: Expressions) -> exp.Expr | None:
    """An expression over the columns of a strand's result as one over the strand's table, if it is one."""

    def express(column: exp.Column) -> exp.Expr | None:
        name, *fields = (part.name for part in column.parts)
        found = columns.get(name.lower())
        return found if found is None or not fields else exp.Dot.build([found, *map(exp.to_identifier, fields)])

    return _substituted(expression, express)


def _strands(scope: Scope, path: tuple[Scope, ...]) -> Iterator[Strand]:
    tree = scope.expression.unnest()
    if any(tree is before.expression for before in path):
        return
    if isinstance(tree, exp.SetOperation):
        yield from _combined(tree, scope, (*path, scope))
    elif isinstance(tree, exp.Select):
        yield from _selected(tree, scope, (*path, scope))


def _combined(tree: exp.SetOperation, scope: Scope, path: tuple[Scope, ...]) -> Iterator[Strand]:
    names = tree.named_selects
    for number, side in enumerate(scope.set_operation_scopes):
        below = side.expression.named_selects if isinstance(side.expression, exp.Query) else []
        for strand in _strands(side, path):
            columns = {name: strand.columns.get(own) for name, own in zip(names, below, strict=False)}
            found = replace(strand, columns=columns)
            unheeded = isinstance(tree, exp.Except) and number == 1
            yield replace(found.noting("EXCEPT takes its rows out"), unheeded=True) if unheeded else found


def _selected(tree: exp.Select, scope: Scope, path: tuple[Scope, ...]) -> Iterator[Strand]:
    joins = joined(tree)
    for name, _ in scope.references:
        for below in _source(scope.sources.get(name), path):
            strand = _through(tree, name, joins, below)
            yield replace(strand, unheeded=True) if joins.get(name, Join()).kind == ANTI else strand
    for inner in scope.subquery_scopes:
        for below in _strands(inner, path):
            yield replace(below, columns={}, conditions=(), unheeded=True).noting("it is read in a subquery")


def _source(source: exp.Expr | Scope | None, path: tuple[Scope, ...]) -> Iterator[Strand]:
    if isinstance(source, Scope):
        yield from _strands(source, path)
    elif isinstance(source, exp.Table) and source.db:
        yield Strand(table_of(source), _Identity())


class _Identity(Mapping[str, "exp.Expr | None"]):
    """Every column of a table is itself."""

    def __getitem__(self, name: str) -> exp.Expr:
        return exp.column(exp.to_identifier(name, quoted=True), table=INPUT)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _through(tree: exp.Select, name: str, joins: Mapping[str, Join], below: Strand) -> Strand:
    """A strand of one source of a SELECT, seen from the SELECT's result."""
    same = equalities(tree, joins, name)

    def express(column: exp.Column, asked: frozenset[str] = frozenset()) -> exp.Expr | None:
        if column.table == name:
            return below.columns.get(column.name.lower())
        shown = column.sql()
        if shown in asked:
            return None
        equals = (_substituted(other, lambda inner: express(inner, asked | {shown})) for other in same.get(shown, ()))
        return next((found for found in equals if found is not None), None)

    columns = {item.alias_or_name.lower(): _result(item, express) for item in tree.expressions}
    kept = (_substituted(part, express) for part in _restrictions(tree, joins.get(name, Join())))
    conditions = (*below.conditions, *(part for part in kept if part is not None and not _says_nothing(part)))
    return _summed(tree, replace(below, columns=columns, conditions=conditions))


def _result(item: exp.Expr, express: Callable[[exp.Column], exp.Expr | None]) -> exp.Expr | None:
    expression = item.unalias()
    return None if _is_opaque(expression) else _substituted(expression, express)


def _restrictions(tree: exp.Select, join: Join) -> list[exp.Expr]:
    """Conditions that each row of a source met, if they speak of it alone: WHERE, and ON where that drops rows."""
    where = tree.args.get("where")
    parts = [*conjuncts(where.this if where else None), *join.restricts]
    return [part for part in parts if not _is_opaque(part)]


def _is_opaque(expression: exp.Expr) -> bool:
    """Whether an expression looks at more than one row."""
    return expression.find(*_OPAQUE) is not None or has_aggregate(expression)


def _says_nothing(condition: exp.Expr) -> bool:
    return isinstance(condition, exp.Binary) and condition.this == condition.expression


def _summed(tree: exp.Select, strand: Strand) -> Strand:
    group = tree.args.get("group")
    parts = [*tree.expressions, tree.args.get("having"), tree.args.get("qualify")]
    nodes = [node for part in parts if part is not None for node in own_nodes(part)]
    windows = any(isinstance(node, exp.Window) for node in nodes)
    sums = any(is_aggregate(node) and not isinstance(node.parent, exp.Window) for node in nodes)
    found = strand.noting("window functions look at other rows too") if windows else strand
    if group is None and not sums:
        return found
    overlapping = group is not None and group.find(exp.Rollup, exp.Cube, exp.GroupingSets) is not None
    return replace(found, summed=True, partial=found.partial or overlapping)


def _substituted(expression: exp.Expr, express: Callable[[exp.Column], exp.Expr | None]) -> exp.Expr | None:
    """The expression with each of its columns replaced; None where one of them cannot be."""
    lost = False

    def replaced(node: exp.Expr) -> exp.Expr:
        nonlocal lost
        if not isinstance(node, exp.Column):
            return node
        found = express(node)
        lost = lost or found is None
        if found is None:
            return node
        plain = isinstance(found, exp.Column | exp.Dot | exp.Literal | exp.Func)
        return found.copy() if plain else exp.paren(found.copy())

    result = expression.copy().transform(replaced)
    return None if lost else result
