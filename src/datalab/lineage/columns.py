"""Which columns a query's columns are made of, and which columns decide what rows it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from datalab.lineage.resolve import Columns, flow_query, resolved, table_of
from datalab.names import is_internal
from datalab.pipelines.cdc import condition
from datalab.pipelines.graph import FlowNode


@dataclass(frozen=True, order=True)
class Ref:
    """A column of something, or a field inside one (`local.uf`); the whole thing where `column` is empty."""

    owner: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.owner}.{self.column}" if self.column else self.owner

    def covers(self, other: Ref) -> bool:
        """Whether one of the two is the other, or holds it."""
        if self.owner != other.owner or not self.column or not other.column:
            return self.owner == other.owner
        short, long = sorted((self.column, other.column), key=len)
        return long == short or long.startswith(f"{short}.")


Refs = frozenset[Ref]
NOTHING: Refs = frozenset()


@dataclass(frozen=True)
class Origins:
    """`columns`: what the value of each column is made of. `rows`: what decides which rows there are.

    `plain` are columns that are a column of the input as it is, so that a field of one is a field of the other.
    """

    columns: Mapping[str, Refs]
    rows: Refs = NOTHING
    plain: frozenset[str] = field(default=frozenset())


def flow_origins(node: FlowNode, columns: Columns) -> Origins:
    """What the columns and rows of a flow's target come from; what AUTO CDC and constraints look at decides on rows.

    Unresolved where the names of the query cannot be resolved.
    """
    found = origins(resolved(flow_query(node), columns))
    keys = {name.lower() for name in node.flow.cdc.keys} if node.flow.cdc else set()
    rules = [rule for rule in node.dataset.constraints if rule.action != "warn"]
    looked_at = {
        column.parts[0].name.lower()
        for rule in rules
        for column in condition(rule.condition, node.flow.cdc).find_all(exp.Column)
    }
    deciding = [refs for name, refs in found.columns.items() if is_internal(name) or name in keys | looked_at]
    shown = {name: refs for name, refs in found.columns.items() if not is_internal(name)}
    return Origins(shown, found.rows.union(*deciding), found.plain)


def origins(scope: Scope) -> Origins:
    """What the columns and rows of a resolved query come from."""
    return _Walk().of(scope)


class _Walk:
    """Each scope of a query once, however often it is read."""

    def __init__(self) -> None:
        self._known: dict[int, Origins] = {}

    def of(self, scope: Scope, outer: Mapping[str, exp.Expr | Scope] | None = None) -> Origins:
        if id(scope) not in self._known:
            self._known[id(scope)] = Origins({})  # a query that reads itself adds nothing new
            self._known[id(scope)] = self._worked_out(scope, {**(outer or {}), **scope.sources})
        return self._known[id(scope)]

    def _worked_out(self, scope: Scope, sources: Mapping[str, exp.Expr | Scope]) -> Origins:
        tree = scope.expression.unnest()
        if isinstance(tree, exp.SetOperation):
            return self._combined(tree, scope)
        if not isinstance(tree, exp.Select):
            return Origins({})
        inner = {id(each.expression): self.of(each, sources) for each in scope.subquery_scopes}
        columns = {item.alias_or_name.lower(): self._refs(item, sources, inner) for item in tree.expressions}
        plain = frozenset(item.alias_or_name.lower() for item in tree.expressions if _is_path(item.unalias()))
        deciding = [self._refs(part, sources, inner) for part in _deciding(tree)]
        below = [self.of(source).rows for name, _ in scope.references if isinstance(source := sources.get(name), Scope)]
        return Origins(columns, NOTHING.union(*deciding, *below), plain)

    def _combined(self, tree: exp.SetOperation, scope: Scope) -> Origins:
        sides = [self.of(side) for side in scope.set_operation_scopes]
        parts = [list(side.columns.values()) for side in sides]
        columns = {
            name: NOTHING.union(*refs)
            for name, refs in zip(tree.named_selects, zip(*parts, strict=False), strict=False)
        }
        compares = not isinstance(tree, exp.Union) or bool(tree.args.get("distinct"))
        looked_at = columns.values() if compares else ()
        return Origins(columns, NOTHING.union(*looked_at, *(side.rows for side in sides)))

    def _refs(self, node: exp.Expr, sources: Mapping[str, exp.Expr | Scope], inner: Mapping[int, Origins]) -> Refs:
        """All columns of tables below an expression; of a query inside it, what its columns and rows come from."""
        if isinstance(node, exp.Query) and id(node) in inner:
            found = inner[id(node)]
            return found.rows.union(*found.columns.values())
        if _is_path(node):
            return self._path(node, sources)
        return NOTHING.union(*(self._refs(child, sources, inner) for child in node.iter_expressions()))

    def _path(self, node: exp.Expr, sources: Mapping[str, exp.Expr | Scope]) -> Refs:
        fields: list[str] = []
        while isinstance(node, exp.Dot):
            fields.insert(0, node.expression.name.lower())
            node = node.this
        assert isinstance(node, exp.Column)
        name, source = node.name.lower(), sources.get(node.table)
        if isinstance(source, exp.Table) and source.db:
            return frozenset({Ref(str(table_of(source)), ".".join((name, *fields)))})
        if not isinstance(source, Scope):
            return NOTHING
        if isinstance(source.expression, exp.Lateral):
            return self._refs(source.expression.this, sources, {})
        found = self.of(source)
        refs = found.columns.get(name, NOTHING)
        whole = not fields or name not in found.plain
        return refs if whole else frozenset(Ref(ref.owner, ".".join((ref.column, *fields))) for ref in refs)


def _is_path(node: exp.Expr) -> bool:
    if isinstance(node, exp.Dot):
        return isinstance(node.expression, exp.Identifier) and _is_path(node.this)
    return isinstance(node, exp.Column)


def _deciding(tree: exp.Select) -> Iterator[exp.Expr]:
    """The parts of a SELECT that decide which rows it answers."""
    for clause in ("where", "group", "having", "qualify", "distinct"):
        if isinstance(part := tree.args.get(clause), exp.Expr):
            yield part
    if tree.args.get("limit") and tree.args.get("order"):
        yield tree.args["order"]
    yield from _conditions(tree.args.get("joins") or ())
    yield from tree.args.get("laterals") or ()


def _conditions(joins: Iterable[exp.Join]) -> Iterator[exp.Expr]:
    return (join.args["on"] for join in joins if join.args.get("on"))
