"""Incremental views: which groups did a change of the input touch, and the view's query restricted to those."""

from __future__ import annotations

from collections.abc import Collection

from sqlglot import exp

from datalab.pipelines.grouping import Grouping

ADDED, REMOVED, TOUCHED = "__added", "__removed", "__touched"
_NEW = "__new"


def touched_groups(query: exp.Query, groups: Grouping, columns: Collection[str], *, rewritten: bool) -> exp.Query:
    """The distinct keys of all groups that changed rows of the table belong to.

    `__added` and `__removed` hold whole data files, so rows that were only copied from one file to another stand in
    both: the multiset difference leaves them out, over those of `columns` that the query mentions. Not `rewritten`:
    no file was removed.
    """
    rows = changed_rows(query, columns, rewritten=rewritten)
    keys = [
        exp.alias_(part.copy(), key, quoted=True) for key, part in zip(groups.keys, groups.expressions, strict=True)
    ]
    return exp.select(*keys).distinct().from_(rows.subquery("changed"))


def only_touched(query: exp.Query, groups: Grouping) -> exp.Query:
    """The view's query over rows of the groups listed in `__touched` alone. NULL keys match NULL keys."""
    if groups.joined:
        return _only_joined(query, groups)
    tree = query.copy()
    rows = exp.select("*").from_(exp.to_table(str(groups.table))).where(exp.Exists(this=_listed(groups)))
    for node in list(tree.find_all(exp.Table)):
        if (node.db.lower(), node.name.lower()) == (groups.table.layer, groups.table.table):
            node.replace(rows.copy().subquery(node.alias or node.name))
    return tree


def joined_keys(query: exp.Query, groups: Grouping) -> exp.Query:
    """The distinct keys of the groups that the rows of a joined view belong to."""
    tree = query.copy()
    named = [exp.alias_(item.copy(), key, quoted=True) for key, item in zip(groups.keys, groups.items, strict=True)]
    tree.set("expressions", named)
    for clause in ("group", "having", "order"):
        tree.set(clause, None)
    assert isinstance(tree, exp.Select)
    return tree.distinct()


def _only_joined(query: exp.Query, groups: Grouping) -> exp.Query:
    assert isinstance(query, exp.Select)
    return query.copy().where(exp.Exists(this=_listed(groups)), copy=False)


def _listed(groups: Grouping) -> exp.Select:
    """The touched keys equal to those of a row outside; renamed, so that they hide no column of it."""
    names = {key: f"__key{number}" for number, key in enumerate(groups.keys)}
    touched = exp.select(*[exp.alias_(exp.column(key, quoted=True), name) for key, name in names.items()]).from_(
        TOUCHED
    )
    same = [
        exp.NullSafeEQ(this=exp.column(names[key], "touched"), expression=exp.paren(part.copy()))
        for key, part in zip(groups.keys, groups.items if groups.joined else groups.expressions, strict=True)
    ]
    return exp.select("1").from_(touched.subquery("touched")).where(*same)


def changed_rows(query: exp.Query | None, columns: Collection[str], *, rewritten: bool) -> exp.Query:
    """Rows that stand more often on one side than on the other, in the columns that a query mentions (or in all).

    One aggregation, four times as fast as EXCEPT ALL.
    """
    used = _mentioned(query, columns) if query is not None else list(columns)
    named = [exp.column(name, quoted=True) for name in used]
    if not rewritten:
        return exp.select(*named).from_(ADDED)
    added, removed = (
        exp.select(*named, exp.alias_(exp.Boolean(this=side == ADDED), _NEW)).from_(side) for side in (ADDED, REMOVED)
    )
    new = exp.column(_NEW)
    uneven = exp.NEQ(this=exp.CountIf(this=new), expression=exp.CountIf(this=exp.not_(new)))
    both = exp.union(added, removed, distinct=False).subquery("both")
    return exp.select(*named).from_(both).group_by(*named).having(uneven)


def _mentioned(query: exp.Query, columns: Collection[str]) -> list[str]:
    mentioned = {part.name.lower() for column in query.find_all(exp.Column) for part in column.parts}
    return [name for name in columns if name.lower() in mentioned] or list(columns)
