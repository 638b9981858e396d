"""Rows out of arrays and maps: explode and its kin, among the results and in FROM."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from datalab.engine.dialect.maps import is_map
from datalab.engine.dialect.nodes import call

_PAIR = 2
_ELEMENT = "__e"
_POSITIONS, _ENTRIES = ("pos", "col"), ("key", "value")


def explode(node: exp.Explode) -> exp.Expr | None:
    """One row an element, none for NULL and empty arrays unless outer; Spark names the column col.

    With two names for the result it is a map; `lateral` translates those in FROM.
    """
    parent = node.parent
    if node.expressions:
        return None
    if isinstance(parent, exp.Lateral):
        return node
    if isinstance(parent, exp.Aliases):
        names = [name.name for name in parent.expressions]
        return _columns(node, names) if len(names) == _PAIR else _one(node)
    if len(own := _own_names(node)) == _PAIR:
        return _columns(node, own) if isinstance(parent, exp.Select) else None
    made = _one(node)
    if made is None or isinstance(parent, exp.Alias):
        return made
    return exp.alias_(made, "col") if isinstance(parent, exp.Select) else None


def _one(node: exp.Explode) -> exp.Expr | None:
    return exp.Explode(this=_or_null(node, node.this)) if len(_own_names(node)) == 1 else None


def aliases(node: exp.Aliases) -> exp.Expr | None:
    """Names of the columns that one call makes: `explode` has put two into it already."""
    if isinstance(node.this, exp.Explode):
        return exp.alias_(node.this, node.expressions[0].name) if len(node.expressions) == 1 else None
    return node.this if isinstance(node.this, exp.Anonymous) and node.this.name == "unnest" else None


def lateral(node: exp.Lateral) -> exp.Expr | None:
    """LATERAL VIEW explode(…), and explode(…) joined with LATERAL. Two columns are those of a map, or of posexplode."""
    made = node.this
    if not isinstance(made, exp.Explode):
        return node if isinstance(made, exp.Subquery) else None
    alias = _named(node)
    if alias is None or _joins_without_on(node.parent):
        return None
    rows: exp.Expr
    outer = bool(node.args.get("outer"))
    if len(alias.columns) == 1:
        rows = exp.Unnest(expressions=[_or_null(made, made.this, outer=outer)], alias=alias)
    else:
        query = exp.Select(expressions=[_unnest(_or_null(made, _pairs(made), outer=outer))])
        rows = exp.Lateral(this=exp.Subquery(this=query), alias=alias)
    return rows if isinstance(node.parent, exp.Join) else exp.Join(this=rows, kind="CROSS")


def _joins_without_on(join: exp.Expr | None) -> bool:
    """LEFT JOIN LATERAL without ON leaves out empty arrays in Spark; sqlglot reads ON true into it."""
    return isinstance(join, exp.Join) and bool(join.side) and join.args.get("on") in (None, exp.true())


def _named(node: exp.Lateral) -> exp.TableAlias | None:
    """The names of the table and its columns, Spark's own where none are given; None where they do not fit."""
    given = node.args.get("alias") or exp.TableAlias()
    own = _own_names(node.this)
    columns = given.columns or [exp.to_identifier(name) for name in own]
    table = given.this or exp.to_identifier(f"__{node.arg_key}_{node.index or 0}")
    fits = len(columns) == _PAIR or len(columns) == len(own)
    return exp.TableAlias(this=table, columns=columns) if fits else None


def _own_names(node: exp.Explode) -> tuple[str, ...]:
    """What Spark calls the columns, as far as it is known; posexplode of a map is not translated."""
    if isinstance(node, exp.Posexplode):
        return _POSITIONS
    return _ENTRIES if is_map(node.this) else ("col",)


def _columns(node: exp.Explode, names: Sequence[str]) -> exp.Expr:
    """Two columns among the results: the fields of structs with these names."""
    kept = _POSITIONS if isinstance(node, exp.Posexplode) else _ENTRIES
    fields = [
        exp.PropertyEQ(
            this=exp.to_identifier(name, quoted=True),
            expression=exp.Dot(this=exp.to_identifier(_ELEMENT), expression=exp.to_identifier(field, quoted=True)),
        )
        for name, field in zip(names, kept, strict=True)
    ]
    renamed = exp.Lambda(this=exp.Struct(expressions=fields), expressions=[exp.to_identifier(_ELEMENT)])
    return _unnest(_or_null(node, call("list_transform", _pairs(node), renamed)))


def _pairs(node: exp.Explode) -> exp.Expr:
    return call("spark_positions" if isinstance(node, exp.Posexplode) else "map_entries", node.this)


def _or_null(node: exp.Explode, array: exp.Expr, *, outer: bool = False) -> exp.Expr:
    return call("spark_or_null", array) if outer or isinstance(node, exp.ExplodeOuter) else array


def _unnest(structs: exp.Expr) -> exp.Expr:
    depth = exp.Kwarg(this=exp.var("max_depth"), expression=exp.Literal.number(_PAIR))
    return call("unnest", structs, depth)
