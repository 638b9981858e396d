"""Table names of a parsed query put in place of the relations they stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from sqlglot import exp

from datalab.engine.places import place
from datalab.errors import UnknownTable


@dataclass(frozen=True)
class Source:
    """Where the rows of a name are: a view of the engine, and its columns that `SELECT *` does not show."""

    view: str
    hidden: tuple[str, ...] = ()


def table_names(tree: exp.Expr) -> tuple[str, ...]:
    """The names of the relations that a query reads, each once; names of common table expressions are left out."""
    return tuple(dict.fromkeys(_name(table) for table in _tables(tree)))


def mentioned(tree: exp.Expr) -> frozenset[str]:
    """All column names that stand in a query, in lower case."""
    return frozenset(column.name.lower() for column in tree.find_all(exp.Column))


def require_known(tree: exp.Expr, names: Collection[str], origin: str) -> None:
    """Raise UnknownTable for the first table name of a query that is not among `names`."""
    for table in _tables(tree):
        if _name(table) not in names:
            near = get_close_matches(_name(table), names, n=1)
            hint = f"did you mean {near[0]}?" if near else ""
            raise UnknownTable(f"{place(origin, table)}: no table {_name(table)}", hint)


def substitute(tree: exp.Expr, sources: Mapping[str, Source]) -> None:
    """Let each table name of `tree` read its source, in place; `layer.table.column` still works."""
    tables = _tables(tree)
    _shorten_columns(tree, {_name(table) for table in tables if table.db})
    for table in tables:
        source = sources[_name(table)]
        _hide(table, source.hidden)
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        view = exp.Table(this=exp.to_identifier(source.view, quoted=True), alias=alias)
        for part in ("joins", "laterals", "pivots", "sample"):
            view.set(part, table.args.get(part))
        table.replace(view)


def _tables(tree: exp.Expr) -> list[exp.Table]:
    named = (table for table in tree.find_all(exp.Table) if isinstance(table.this, exp.Identifier))
    return [table for table in named if table.db or not _is_shadowed(table)]


def _name(table: exp.Table) -> str:
    return f"{table.db}.{table.name}".lower() if table.db else table.name.lower()


def _is_shadowed(table: exp.Table) -> bool:
    node: exp.Expr = table
    while parent := node.parent:
        clause = parent if isinstance(parent, exp.With) else parent.args.get("with_")
        if clause is not None and clause is not node and table.name.lower() in _visible(clause, node):
            return True
        node = parent
    return False


def _visible(clause: exp.With, inside: exp.Expr) -> set[str]:
    """Names that `clause` gives to `inside`: all of them, or for one of its own expressions the earlier ones."""
    names: set[str] = set()
    for common in clause.expressions:
        if common is inside and not clause.recursive:
            break
        names.add(common.alias.lower())
        if common is inside:
            break
    return names


def _shorten_columns(tree: exp.Expr, names: set[str]) -> None:
    for column in tree.find_all(exp.Column):
        parts = [part.name.lower() for part in column.parts]
        if len(parts) > 2 and ".".join(parts[:2]) in names:
            column.set("catalog" if column.args.get("catalog") else "db", None)


def _hide(table: exp.Table, hidden: tuple[str, ...]) -> None:
    select = table.find_ancestor(exp.Select)
    if not hidden or select is None:
        return
    for projection in select.expressions:
        star = projection.this if isinstance(projection, exp.Column) else projection
        if isinstance(star, exp.Star) and (star is projection or projection.table == table.alias_or_name):
            kept = star.args.get("except_") or []
            missing = set(hidden) - {identifier.name for identifier in kept}
            star.set("except_", [*kept, *(exp.to_identifier(name, quoted=True) for name in sorted(missing))])
