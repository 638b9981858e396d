"""Which views can be recomputed group by group: proven from the parsed query, with a reason where it cannot be."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.scope import Scope, build_scope

from datalab.engine.aggregates import has_aggregate, is_aggregate
from datalab.names import TableName
from datalab.pipelines.group_by import Item, NotGrouped, group_items
from datalab.pipelines.views import tables_of

_UNSTABLE = (
    exp.CurrentTimestamp, exp.CurrentTimestampLTZ, exp.CurrentDate, exp.CurrentTime, exp.CurrentDatetime,
    exp.Localtimestamp, exp.Localtime, exp.CurrentTimezone, exp.CurrentUser, exp.SessionUser,
    exp.Rand, exp.Randn, exp.Randstr, exp.Uniform, exp.Uuid,
)  # fmt: skip
_UNSTABLE_NAMES = frozenset(
    (
        "now", "curdate", "current_timezone", "current_user", "user", "session_user", "random", "rand", "randn",
        "randstr", "uniform", "uuid", "shuffle", "monotonically_increasing_id", "spark_partition_id",
        "input_file_name", "input_file_block_start", "version",
    )
)  # fmt: skip
_GENERATORS = (exp.Explode, exp.Posexplode, exp.Inline, exp.Unnest, exp.Lateral)


@dataclass(frozen=True)
class Grouping:
    """A view that groups one table, such that rows of other keys have no influence on a group.

    `keys` are names of its result; `expressions`, in the same order, what they are over the rows of `table`, and
    `items` over the rows that `select`, the SELECT with the GROUP BY, reads. NULL is a key like any other. `joined`:
    `select` reads other tables too, and `expressions` is empty.
    """

    table: TableName
    keys: tuple[str, ...]
    expressions: tuple[exp.Expression, ...] = field(compare=False)
    items: tuple[exp.Expr, ...] = field(default=(), compare=False)
    select: exp.Select | None = field(default=None, compare=False)
    joined: bool = False


@dataclass(frozen=True)
class _Level:
    """One SELECT of the chain: what its columns are over the rows of the table; None where they are aggregates.

    `names` are those that may stand before a column of it.
    """

    table: exp.Table
    columns: dict[str, tuple[str, exp.Expr | None]]
    star: bool
    keys: tuple[exp.Expr, ...] | None = None
    names: frozenset[str] = frozenset()
    items: tuple[exp.Expr, ...] = ()
    select: exp.Select | None = None

    def column(self, name: str) -> exp.Expr | None:
        """A column by name, over the table; None for an aggregate. NotGrouped where it cannot be told."""
        if name.lower() in self.columns:
            return self.columns[name.lower()][1]
        if not self.star:
            raise NotGrouped(f"the column {name} cannot be followed to the table")
        return exp.column(name.lower())


def nondeterministic(query: exp.Expr) -> tuple[str, ...]:
    """The functions of a query whose answer changes without a change of its inputs."""
    unstable = (node for node in query.walk() if isinstance(node, exp.Func) and _is_unstable(node))
    return tuple(dict.fromkeys(node.sql("spark") for node in unstable))


def grouping(query: exp.Query, columns: Collection[str] = ()) -> Grouping | str:
    """The groups of a query of the form SELECT … FROM one table GROUP BY …, or why it has none that stand alone.

    Row-wise views below and above the GROUP BY are seen through. `columns` are those of the table where they are
    known: they tell a column in GROUP BY from an alias of the same name.
    """
    try:
        return _grouping(query, frozenset(name.lower() for name in columns))
    except NotGrouped as reason:
        return str(reason)


def _grouping(query: exp.Query, columns: frozenset[str]) -> Grouping:
    if unstable := nondeterministic(query):
        raise NotGrouped(f"{unstable[0]} changes by itself")
    refuse_shapes(query)
    try:
        scope = build_scope(query)
    except OptimizeError as error:
        raise NotGrouped(str(error)) from error
    if scope is None:
        raise NotGrouped("it is not a SELECT")
    level = _level(scope, columns)
    if level.keys is None:
        raise NotGrouped("it has no GROUP BY")
    if len(tables_of(query)) != 1:
        raise NotGrouped("it reads several tables")
    names = tuple(_output_name(level, key) for key in level.keys)
    table = TableName.parse(f"{level.table.db}.{level.table.name}".lower())
    expressions = tuple(key for key in level.keys if isinstance(key, exp.Expression))
    return Grouping(table, names, expressions, level.items, level.select)


def refuse_shapes(query: exp.Query, *, joins: bool = False) -> None:
    """Raise NotGrouped for what makes rows of one group depend on others, or on chance; `joins` are let pass."""
    shapes: tuple[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], str], ...] = (
        (exp.SetOperation, "it combines queries"),
        (exp.Window, "it has window functions"),
        (exp.Join, "it reads several tables"),
        (exp.Distinct, "it has DISTINCT over rows"),
        ((exp.Limit, exp.Fetch, exp.Offset), "it has LIMIT"),
        (_GENERATORS, "it makes several rows of one"),
        (exp.TableSample, "it samples"),
        (exp.Pivot, "it pivots"),
        ((exp.Rollup, exp.Cube, exp.GroupingSets), "its groups overlap"),
    )
    for kinds, reason in shapes:
        if joins and kinds is exp.Join:
            continue
        for node in query.find_all(*kinds) if isinstance(kinds, tuple) else query.find_all(kinds):
            if not (isinstance(node, exp.Distinct) and not isinstance(node.parent, exp.Select)):
                raise NotGrouped(reason)


def _level(scope: Scope, columns: frozenset[str]) -> _Level:
    tree = scope.expression
    if not isinstance(tree, exp.Select):
        raise NotGrouped("it is not a SELECT")
    if scope.subquery_scopes:
        raise NotGrouped("it has a subquery")
    below = _below(scope, columns)
    return _grouped(tree, below, columns) if tree.args.get("group") else _row_wise(tree, below, columns)


def _below(scope: Scope, columns: frozenset[str]) -> _Level:
    """The one source of a SELECT."""
    if len(scope.selected_sources) != 1:
        raise NotGrouped("it does not read one table")
    ((name, (reference, source)),) = scope.selected_sources.items()
    if any(alias.columns for alias in _aliases(reference, source)):
        raise NotGrouped("it renames the columns of what it reads")
    if isinstance(source, Scope):
        return replace(_level(source, columns), names=frozenset({name.lower()}))
    if not isinstance(source, exp.Table):
        raise NotGrouped("it does not read a table")
    return _Level(source, {}, star=True, names=frozenset({name.lower(), source.db.lower()}))


def _aliases(reference: exp.Expr, source: exp.Expr | Scope) -> Iterator[exp.TableAlias]:
    """The names given to a source where it is read and where it is defined."""
    nodes = [reference, reference.parent, source.expression.parent if isinstance(source, Scope) else None]
    for node in nodes:
        alias = node.args.get("alias") if isinstance(node, exp.Table | exp.Subquery | exp.CTE) else None
        if isinstance(alias, exp.TableAlias):
            yield alias


def _row_wise(tree: exp.Select, below: _Level, columns: frozenset[str]) -> _Level:
    if any(map(is_aggregate, _own_nodes(tree))):
        raise NotGrouped("it has no GROUP BY" if below.keys is None else "it aggregates its groups once more")
    return replace(_projected(tree, below, columns, below.keys), items=below.items, select=below.select)


def _own_nodes(tree: exp.Select) -> Iterator[exp.Expr]:
    """The nodes of a SELECT without those of the queries inside it."""
    return tree.walk(prune=lambda node: isinstance(node, exp.Query) and node is not tree)


def _grouped(tree: exp.Select, below: _Level, columns: frozenset[str]) -> _Level:
    if below.keys is not None:
        raise NotGrouped("it groups twice")
    found: dict[exp.Expr, exp.Expr] = {}
    for item in group_items(tree):
        written = _key(item, tree, below, columns)
        over = _over_table(written, below)
        if over is not None:
            found.setdefault(over, written)
    return replace(_projected(tree, below, columns, tuple(found)), items=tuple(found.values()), select=tree)


def _key(item: Item, tree: exp.Select, below: _Level, columns: frozenset[str]) -> exp.Expr:
    """A GROUP BY item as an expression: an alias stands for what is selected."""
    written = item.expression
    if isinstance(written, exp.Column) and not written.table and not item.selected:
        aliased = _aliased(tree, written.name, below)
        if aliased is not None and not _has_column(below, written.name, columns):
            return aliased
    return written


def _has_column(below: _Level, name: str, columns: frozenset[str]) -> bool:
    if name.lower() in below.columns:
        return True
    if below.star and not columns:
        raise NotGrouped(f"GROUP BY {name} may be a column or an alias: write the expression")
    return below.star and name.lower() in columns


def _aliased(tree: exp.Select, name: str, below: _Level) -> exp.Expr | None:
    """What is selected under a name, where that is not the column of that name."""
    items = (item for item in tree.expressions if item.alias.lower() == name.lower())
    return next((item.this for item in items if _renames(item, below)), None)


def _renames(item: exp.Expr, below: _Level) -> bool:
    if not isinstance(item, exp.Alias):
        return False
    inner = item.this
    parts = _unqualified(inner, below.names) if isinstance(inner, exp.Column) else []
    return [part.lower() for part in parts] != [item.alias.lower()]


def _projected(tree: exp.Select, below: _Level, columns: frozenset[str], keys: tuple[exp.Expr, ...] | None) -> _Level:
    stars = [item for item in tree.expressions if item.is_star]
    outputs = _starred(stars[0], below) if stars else {}
    for item in tree.expressions:
        name = item.alias_or_name
        if item.is_star or not name:
            continue
        if name.lower() in outputs or (stars and _may_pass(stars[0], name, below, columns)):
            raise NotGrouped(f"it may have two columns named {name}")
        opaque = has_aggregate(item) or _uses_sibling(item, tree, below)
        outputs[name.lower()] = (name, None if opaque else _over_table(item.unalias(), below))
    return _Level(below.table, outputs, below.star and bool(stars) and not tree.args.get("group"), keys)


def _starred(item: exp.Expr, below: _Level) -> dict[str, tuple[str, exp.Expr | None]]:
    return {name: column for name, column in below.columns.items() if name not in _left_out(item)}


def _may_pass(item: exp.Expr, name: str, below: _Level, columns: frozenset[str]) -> bool:
    """Whether a star may stand for a column of the table that has this name."""
    return below.star and name.lower() not in _left_out(item) and (not columns or name.lower() in columns)


def _left_out(item: exp.Expr) -> set[str]:
    star = item.this if isinstance(item, exp.Column) else item
    if star.args.get("replace") or star.args.get("rename"):
        raise NotGrouped("it replaces columns of a star")
    return {part.name.lower() for part in star.args.get("except_") or ()}


def _uses_sibling(item: exp.Expr, tree: exp.Select, below: _Level) -> bool:
    """Whether an expression may mean an alias selected before it rather than a column of the table."""
    earlier = tree.expressions[: tree.expressions.index(item)]
    before = {other.alias.lower() for other in earlier if _renames(other, below)}
    return any(not column.table and column.name.lower() in before for column in item.find_all(exp.Column))


def _over_table(expression: exp.Expr, below: _Level) -> exp.Expr | None:
    """The expression with each column replaced by what it is over the rows of the table."""
    opaque = False

    def replaced(node: exp.Expr) -> exp.Expr:
        nonlocal opaque
        if not isinstance(node, exp.Column):
            return node
        name, *fields = _unqualified(node, below.names)
        found = below.column(name)
        opaque = opaque or found is None
        return exp.Dot.build([found.copy(), *map(exp.to_identifier, fields)]) if found and fields else found or node

    result = expression.copy().transform(replaced)
    return None if opaque else result


def _unqualified(column: exp.Column, names: frozenset[str]) -> list[str]:
    """The parts of `table.column.field` without the table."""
    parts = [part.name for part in column.parts]
    while len(parts) > 1 and parts[0].lower() in names:
        parts.pop(0)
    return parts


def _output_name(level: _Level, key: exp.Expr) -> str:
    for name, expression in level.columns.values():
        if expression == key:
            return name
    raise NotGrouped(f"the group key {key.sql('spark')} is not in the result")


def _is_unstable(node: exp.Expr) -> bool:
    return isinstance(node, _UNSTABLE) or (isinstance(node, exp.Anonymous) and node.name.lower() in _UNSTABLE_NAMES)
