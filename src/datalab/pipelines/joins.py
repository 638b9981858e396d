"""Views that group a join: which groups a change of one of its tables can touch, where the others stand still."""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.aggregates import is_aggregate
from datalab.names import TableName
from datalab.pipelines.group_by import NotGrouped, group_items
from datalab.pipelines.grouping import Grouping, nondeterministic, refuse_shapes
from datalab.pipelines.views import tables_of


def joined_grouping(query: exp.Query, table: TableName) -> Grouping | str:
    """The groups of SELECT … FROM several tables GROUP BY …, as `table` alone changes; or why they cannot be told.

    Every row that is grouped comes from at most one row of `table`: then the groups of the rows that came and went,
    joined with all else as it is, are those that are touched.
    """
    try:
        return _joined(query, table)
    except NotGrouped as reason:
        return str(reason)


def _joined(query: exp.Query, table: TableName) -> Grouping:
    if unstable := nondeterministic(query):
        raise NotGrouped(f"{unstable[0]} changes by itself")
    refuse_shapes(query, joins=True)
    if not isinstance(query, exp.Select) or not query.args.get("group"):
        raise NotGrouped("it has no GROUP BY" if isinstance(query, exp.Select) else "it is not a SELECT")
    places = [each for each in tables_of(query) if (each.db.lower(), each.name.lower()) == (table.layer, table.table)]
    if len(places) != 1:
        raise NotGrouped(f"it reads {table} more than once")
    _require_followed(query, places[0], table)
    keys = _keys(query)
    items = tuple(item for _, item in keys)
    return Grouping(table, tuple(name for name, _ in keys), (), items, query, joined=True)


def _require_followed(query: exp.Select, place: exp.Expr, table: TableName) -> None:
    """From the table up to the GROUP BY: joins that keep or drop its rows, and SELECTs that work on each alone."""
    node: exp.Expr = place
    while node is not query:
        parent = node.parent
        if parent is None:
            raise NotGrouped(f"{table} cannot be followed to the groups")
        if isinstance(parent, exp.CTE):
            node = _use_of(query, parent, table)
            continue
        if isinstance(parent, exp.Join):
            _require_join(parent, table)
        elif isinstance(parent, exp.Select):
            _require_select(parent, node, query, table)
        elif not isinstance(parent, exp.From | exp.Subquery | exp.Table):
            raise NotGrouped(f"{table} stands in a subquery")
        node = parent


def _use_of(query: exp.Select, defined: exp.CTE, table: TableName) -> exp.Expr:
    """The one place that reads a common table expression."""
    name = defined.alias.lower()
    uses = [each for each in query.find_all(exp.Table) if not each.db and each.name.lower() == name]
    if len(uses) != 1:
        raise NotGrouped(f"it reads {table} more than once")
    return uses[0]


def _require_join(join: exp.Join, table: TableName) -> None:
    if join.side or join.kind.upper() in ("SEMI", "ANTI"):
        raise NotGrouped(f"{table} is joined so that rows without a match stay")


def _require_select(select: exp.Select, below: exp.Expr, query: exp.Select, table: TableName) -> None:
    if not isinstance(below, exp.From | exp.Join):
        raise NotGrouped(f"{table} stands in a subquery")
    if any(join.side.upper() in ("RIGHT", "FULL") for join in select.args.get("joins") or ()):
        raise NotGrouped(f"{table} is joined so that rows without a match stay")
    own = select.walk(prune=lambda node: isinstance(node, exp.Query) and node is not select)
    grouped = select.args.get("group") or any(map(is_aggregate, own))
    if select is not query and grouped:
        raise NotGrouped("it groups twice")


def _keys(select: exp.Select) -> list[tuple[str, exp.Expr]]:
    """The name in the result of each group key, and what it is over the joined rows."""
    return list(dict.fromkeys(_key(select, item.expression) for item in group_items(select)))


def _key(select: exp.Select, item: exp.Expr) -> tuple[str, exp.Expr]:
    for selected in select.expressions:
        inner = selected.unalias()
        if selected.alias_or_name and (inner == item or _same_column(inner, item)):
            return selected.alias_or_name, inner
    if isinstance(item, exp.Column) and any(each.alias.lower() == item.name.lower() for each in select.expressions):
        raise NotGrouped(f"GROUP BY {item.name} may be a column or an alias: write the expression")
    raise NotGrouped(f"the group key {item.sql('spark')} is not in the result")


def _same_column(one: exp.Expr, other: exp.Expr) -> bool:
    """A column with its table and one without; a name without a table means one column only."""
    if not (isinstance(one, exp.Column) and isinstance(other, exp.Column)):
        return False
    tables = {column.table.lower() for column in (one, other) if column.table}
    return len(tables) < 2 and one.name.lower() == other.name.lower()
