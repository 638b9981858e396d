"""Arrays, structs, generated rows, and aggregates with an order."""

from __future__ import annotations

from sqlglot import exp

from datalab.engine.dialect.kinds import convert
from datalab.engine.dialect.maps import is_map
from datalab.engine.dialect.nodes import Rewrite, call, cast, string, text_of


def _bracket(node: exp.Bracket) -> exp.Expr | None:
    """x[i] counts from 0, element_at(x, i) from 1 and from the end; outside is an error. Maps by texts, or known."""
    if len(node.expressions) != 1 or isinstance(node.expressions[0], exp.Slice):
        return None
    (index,) = node.expressions
    if text_of(index) is not None or is_map(node.this):
        return exp.Bracket(this=node.this, expressions=[index])
    if node.args.get("offset") != 1:
        return call("spark_item", node.this, index)
    return None if node.args.get("safe") else call("spark_element", node.this, index)


def _size(node: exp.ArraySize) -> exp.Expr | None:
    if is_map(node.this):
        return cast(call("cardinality", node.this), "INT")
    return None if node.expression else call("spark_size", node.this)


def _sort_array(node: exp.ArraySort) -> exp.Expr | None:
    if node.expression or isinstance(node.args.get("expression"), exp.Lambda):
        return None
    """sort_array has NULL first ascending and last descending, array_sort always last."""
    falling, last = (node.args.get(name) == exp.false() for name in ("asc", "nulls_first"))
    order = "DESC" if falling else "ASC", "NULLS LAST" if falling or last else "NULLS FIRST"
    return call("list_sort", node.this, *map(string, order))


def _per_element(node: exp.Transform | exp.ArrayFilter) -> exp.Expr | None:
    """Functions of an element; those of element and index count differently."""
    function = node.expression
    if not isinstance(function, exp.Lambda) or len(function.expressions) != 1:
        return None
    return node


def _listagg(node: exp.GroupConcat) -> exp.Expr | None:
    """Without an order, Spark's is arbitrary: rows are joined in the order of their text, always the same."""
    if isinstance(node.this, exp.Order | exp.Distinct) or node.args.get("on_overflow"):
        return None
    separator = node.args.get("separator") or string("")
    ordered = exp.Order(this=separator, expressions=[exp.Ordered(this=node.this.copy(), nulls_first=False)])
    return call("string_agg", node.this, ordered)


def _count_if(node: exp.CountIf) -> exp.Expr | None:
    """Where the condition is never known, or there is no row, DuckDB's answers NULL; in Spark it is 0."""
    distinct = isinstance(node.this, exp.Distinct)
    condition = node.this.expressions[0] if distinct else node.this
    met = exp.Case(ifs=[exp.If(this=condition.copy(), true=exp.true())])
    return exp.Count(this=exp.Distinct(expressions=[met]) if distinct else met, big_int=True)


def _ignore_nulls(node: exp.IgnoreNulls) -> exp.Expr | None:
    inner = node.this
    if isinstance(inner, exp.First | exp.AnyValue):
        return call("any_value", inner.this)
    if isinstance(inner, exp.Last):
        return _last_known(node)
    return node if isinstance(inner, exp.FirstValue | exp.LastValue | exp.NthValue | exp.Lag | exp.Lead) else None


def _last_known(node: exp.IgnoreNulls) -> exp.Expr | None:
    if isinstance(node.parent, exp.Window):
        return exp.IgnoreNulls(this=exp.LastValue(this=node.this.this))
    known = exp.Not(this=exp.paren(exp.Is(this=node.this.this.copy(), expression=exp.Null())))
    last = exp.Filter(this=node.this, expression=exp.Where(this=known))
    return None if isinstance(node.parent, exp.Filter) else last


def _any_value(node: exp.AnyValue) -> exp.Expr | None:
    """Over a window it is the first, NULL too; else any value does."""
    if isinstance(node.parent, exp.Filter) and isinstance(node.parent.parent, exp.Window):
        return None
    return exp.First(this=node.this) if isinstance(node.parent, exp.Window) else node


def _percentile_within(node: exp.WithinGroup) -> exp.Expr | None:
    inner, ordered = node.this, node.expression.expressions
    if not isinstance(inner, exp.PercentileCont) or len(ordered) != 1:
        return None
    share = inner.this
    if ordered[0].args.get("desc"):
        share = exp.paren(exp.Sub(this=exp.Literal.number(1), expression=exp.paren(share)))
    return call("quantile_cont", convert(ordered[0].this, "double"), share)


def _exists(node: exp.Exists) -> exp.Expr | None:
    return node if isinstance(node.this, exp.Query) else None


def _values(node: exp.Values) -> exp.Expr | None:
    """Columns without names are col1, col2 in Spark and col0, col1 in DuckDB."""
    alias = node.args.get("alias")
    if alias is not None and alias.columns:
        return node
    width = len(node.expressions[0].expressions) if isinstance(node.expressions[0], exp.Tuple) else 1
    names = [exp.to_identifier(f"col{number}") for number in range(1, width + 1)]
    name = alias.this if alias is not None else exp.to_identifier("__values")
    node.set("alias", exp.TableAlias(this=name, columns=names))
    return node


def _count_distinct(node: exp.ApproxDistinct) -> exp.Expr:
    """The exact count is within the error that an approximate one may have, and always the same."""
    return exp.Count(this=exp.Distinct(expressions=[node.this]), big_int=True)


def _count(node: exp.Count) -> exp.Expr | None:
    """`count(DISTINCT *)` would have to name the columns: rows with a NULL do not count."""
    return None if isinstance(node.this, exp.Distinct) and node.this.find(exp.Star) else node


def _struct(node: exp.Struct) -> exp.Expr | None:
    return None if any(isinstance(field, exp.Star) for field in node.expressions) else node


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Bracket: _bracket,
    exp.ArraySize: _size,
    exp.ArraySort: _sort_array,
    exp.Transform: _per_element,
    exp.ArrayFilter: _per_element,
    exp.Count: _count,
    exp.CountIf: _count_if,
    exp.GroupConcat: _listagg,
    exp.IgnoreNulls: _ignore_nulls,
    exp.AnyValue: _any_value,
    exp.WithinGroup: _percentile_within,
    exp.ApproxDistinct: _count_distinct,
    exp.Exists: _exists,
    exp.Values: _values,
    exp.Struct: _struct,
}
