"""Clauses of a SELECT that DuckDB reads otherwise, or not at all: GROUP BY, SELECT * over USING, rows IN a query."""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.aggregates import has_aggregate
from datalab.engine.dialect.nodes import Rewrite

_FILTERS = (exp.Where, exp.Having, exp.Qualify, exp.Join)
_MONOTONE = (exp.And, exp.Or, exp.Paren)


def drop_hints(root: exp.Expr) -> None:
    """Hints change how Spark computes, never what."""
    for hint in list(root.find_all(exp.Hint)):
        hint.pop()


def filter_lists(root: exp.Expr) -> None:
    """collect_list(x) FILTER (WHERE c) leaves out what is NULL, so it is collect_list(CASE WHEN c THEN x END)."""
    for node in list(root.find_all(exp.Filter)):
        made = node.this
        if isinstance(made, exp.ArrayAgg | exp.ArrayUniqueAgg) and not isinstance(made.this, exp.Distinct | exp.Order):
            made.set("this", exp.Case().when(node.expression.this.copy(), made.this.copy()))
            node.replace(made)


def write_out_all(root: exp.Expr) -> None:
    """GROUP BY ALL as positions: DuckDB's own refuses a result of both keys and aggregates."""
    for group in list(root.find_all(exp.Group)):
        select = group.parent
        if not group.args.get("all") or not isinstance(select, exp.Select):
            continue
        results = select.expressions
        if any(each.is_star or each.find(exp.Window, exp.Explode, exp.Query) for each in results):
            continue
        keys = [exp.Literal.number(n) for n, each in enumerate(results, 1) if not has_aggregate(each)]
        if keys:
            group.set("all", None)
            group.set("expressions", keys)


def order_by_results(root: exp.Expr) -> None:
    """In ORDER BY x + 1 Spark takes the result that is called x, DuckDB a column of that name if there is one."""
    for select in root.find_all(exp.Select):
        named = {each.alias.lower(): each.this for each in select.expressions if _may_be_repeated(each)}
        for ordered in select.args["order"].expressions if select.args.get("order") else []:
            for column in list(ordered.this.find_all(exp.Column)):
                meant = named.get(column.name.lower()) if not column.table else None
                if meant is not None and column is not ordered.this and column != meant and not _is_inside(column):
                    column.replace(exp.paren(meant.copy()))


def _may_be_repeated(result: exp.Expr) -> bool:
    return isinstance(result, exp.Alias) and not result.find(exp.Explode, exp.Rand, exp.Uuid)


def _is_inside(column: exp.Column) -> bool:
    """Whether a column is of the rows before they are grouped, or of another query."""
    return isinstance(column.find_ancestor(exp.AggFunc, exp.Window, exp.Ordered, exp.Query), exp.AggFunc | exp.Window)


def _group(node: exp.Group) -> exp.Expr | None:
    """GROUP BY a, b WITH ROLLUP is ROLLUP (a, b); before GROUPING SETS without a comma the list says nothing more."""
    overlapping = [each for kind in ("rollup", "cube") for each in node.args.get(kind) or []]
    if any(not each.expressions for each in overlapping):
        if len(overlapping) > 1 or any(isinstance(each, exp.Literal) for each in node.expressions):
            return None
        overlapping[0].set("expressions", [each.copy() for each in node.expressions])
        node.set("expressions", [])
    elif node.args.get("grouping_sets"):
        node.set("expressions", [])
    return node


def _select(node: exp.Select) -> exp.Expr | None:
    """* and a.* over JOIN … USING: the shared columns come first, those of the last join before all others."""
    shared = _shared(node)
    if shared:
        node.set("expressions", [part for each in node.expressions for part in _columns_first(each, shared, node)])
    return node


def _columns_first(each: exp.Expr, shared: list[exp.Expr], select: exp.Select) -> list[exp.Expr]:
    star = each.this if isinstance(each, exp.Column) else each
    if not isinstance(star, exp.Star) or (star is not each and not _has_all(each.args["table"].name, select)):
        return [each]
    left_out = {name.name.lower() for name in star.args.get("except_") or []}
    first = [name for name in shared if name.name.lower() not in left_out]
    star.set("except_", [*(star.args.get("except_") or []), *(name.copy() for name in first)])
    table = each.args.get("table")
    return [*(exp.Column(this=name.copy(), table=table.copy() if table else None) for name in first), each]


def _has_all(table: str, select: exp.Select) -> bool:
    """Whether a table has all columns that are shared: where the joins share different ones that is not known."""
    joins = [join for join in select.args.get("joins") or [] if join.args.get("using")]
    start = select.args["from_"].this
    alike = len({tuple(name.name.lower() for name in join.args["using"]) for join in joins}) == 1
    return alike and table.lower() in {each.alias_or_name.lower() for each in (start, *(join.this for join in joins))}


def _shared(node: exp.Select) -> list[exp.Expr]:
    found: dict[str, exp.Expr] = {}
    for join in reversed(node.args.get("joins") or []):
        for name in join.args.get("using") or []:
            found.setdefault(name.name.lower(), name)
    return list(found.values())


def _star(node: exp.Expr | None) -> exp.Star | None:
    results = node.expressions if isinstance(node, exp.Select) else []
    return next((each for each in results if isinstance(each, exp.Star)), None)


def _join(node: exp.Join) -> exp.Expr | None:
    """For SELECT * it has to be known which columns are shared."""
    shares = node.args.get("using") or node.method == "NATURAL"
    if not shares or _star(node.parent_select) is None:
        return node
    return node if node.method != "NATURAL" and isinstance(node.parent, exp.Select) else None


def _in(node: exp.In) -> exp.Expr | None:
    """IN (SELECT …) among the results is never NULL in Spark, and neither is its opposite; as a filter NULL is false.

    For (a, b) with NULL inside, DuckDB answers NULL where it is false: the same, but not for the opposite.
    """
    if node.args.get("query") is None:
        return node
    rows = isinstance(node.this.unnest(), exp.Tuple)
    clause, way = _way_up(node)
    if isinstance(clause, _FILTERS):
        return None if rows and not all(isinstance(each, _MONOTONE) for each in way) else node
    opposite = isinstance(next((each for each in way if not isinstance(each, exp.Paren)), None), exp.Not)
    if sum(isinstance(each, exp.Not) for each in way) > opposite or (rows and opposite):
        return None
    return exp.func("coalesce", node.copy(), exp.true() if opposite else exp.false())


def _way_up(node: exp.Expr) -> tuple[exp.Expr | None, list[exp.Expr]]:
    """The clause or query that an expression belongs to, and what lies between."""
    way: list[exp.Expr] = []
    above = node.parent
    while above is not None and not isinstance(above, (*_FILTERS, exp.Query)):
        way.append(above)
        above = above.parent
    return above, way


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Group: _group,
    exp.Select: _select,
    exp.Join: _join,
    exp.In: _in,
}
