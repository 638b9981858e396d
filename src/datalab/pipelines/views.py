"""Temporary views written into the queries that read them, as common table expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from datalab.errors import PipelineCycle, PipelineError
from datalab.pipelines.model import Dataset
from datalab.pipelines.query import is_stream, origin_of

Views = Mapping[str, Dataset]


def tables_of(query: exp.Query) -> tuple[exp.Table, ...]:
    """The tables and views that a query reads, without the names of its own common table expressions."""
    return tuple(table for table in query.find_all(exp.Table) if not _is_hint(table) and not _is_local(table))


def check_views(views: Views) -> None:
    """PipelineCycle where views read each other in a circle."""
    for view in views.values():
        _walk(view, views, ())


def inline_views(query: exp.Query, views: Views) -> exp.Query:
    """The query with each temporary view that it reads, directly or through others, as a CTE in front.

    A view read with STREAM, and that reads no stream itself, reads its one table as a stream.
    """
    tree = query.copy()
    inlining = _Inlining(views, _local_names(query, views))
    inlining.resolve(tree)
    inlining.attach(tree)
    return tree


class _Inlining:
    """The CTEs that one query needs, in the order in which they can be defined."""

    def __init__(self, views: Views, taken: set[str]) -> None:
        self._views = views
        self._taken = taken
        self._names: dict[tuple[str, bool], str] = {}
        self._ctes: list[exp.CTE] = []

    def resolve(self, tree: exp.Query) -> None:
        """Point every reference to a view at its CTE."""
        for table in tables_of(tree):
            view = _view_of(table, self._views)
            if view is not None:
                alias = table.alias or table.name
                table.set("this", exp.to_identifier(self._cte(view, table)))
                table.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))
                table.meta.pop("stream", None)

    def attach(self, tree: exp.Query) -> None:
        """Put the CTEs in front of those that the query has."""
        if not self._ctes:
            return
        own = tree.args.get("with_")
        if own is None:
            tree.set("with_", exp.With(expressions=self._ctes))
        else:
            own.set("expressions", [*self._ctes, *own.expressions])

    def _cte(self, view: Dataset, reference: exp.Table) -> str:
        key = (view.view, is_stream(reference) and not _reads_stream(view, self._views))
        if key not in self._names:
            body = _query(view).copy()
            if key[1]:
                _mark_only_table(body, view, reference)
            self.resolve(body)
            name = self._free_name(view.view)
            self._names[key] = name
            self._ctes.append(exp.CTE(this=body, alias=exp.TableAlias(this=exp.to_identifier(name))))
        return self._names[key]

    def _free_name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return name


def _mark_only_table(body: exp.Query, view: Dataset, reference: exp.Table) -> None:
    tables = tables_of(body)
    if len(tables) != 1:
        raise PipelineError(
            f"{origin_of(reference, view.origin)}: STREAM {view.view}: the view reads {len(tables)} tables, "
            f"and none of them as a stream ({view.origin})",
            "write STREAM in the view, before the table whose new rows are wanted",
        )
    tables[0].meta["stream"] = True


def _reads_stream(view: Dataset, views: Views) -> bool:
    for table in tables_of(_query(view)):
        inner = _view_of(table, views)
        if is_stream(table) or (inner is not None and _reads_stream(inner, views)):
            return True
    return False


def _walk(view: Dataset, views: Views, path: tuple[Dataset, ...]) -> None:
    if view in path:
        circle = (*path[path.index(view) :], view)
        names = " → ".join(f"{step.view} ({step.origin})" for step in circle)
        raise PipelineCycle(f"{view.origin}: views read each other in a circle: {names}", "take one of the reads out")
    for table in tables_of(_query(view)):
        inner = _view_of(table, views)
        if inner is not None:
            _walk(inner, views, (*path, view))


def _view_of(table: exp.Table, views: Views) -> Dataset | None:
    return None if table.db else views.get(table.name.lower())


def _query(view: Dataset) -> exp.Query:
    if view.query is None:
        raise PipelineError(f"{view.origin}: the view {view.view} has no query")
    return view.query


def _local_names(query: exp.Query, views: Views) -> set[str]:
    queries = (query, *(view.query for view in views.values() if view.query is not None))
    return {cte.alias.lower() for tree in queries for cte in tree.find_all(exp.CTE)}


def _is_hint(table: exp.Table) -> bool:
    return table.find_ancestor(exp.Hint) is not None


def _is_local(table: exp.Table) -> bool:
    return not table.db and any(name == table.name.lower() for name in _visible_names(table))


def _visible_names(node: exp.Expr) -> Iterator[str]:
    """Names of the CTEs that can be read at this place: earlier ones of each WITH around it."""
    child: exp.Expr = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            for cte in parent.expressions:
                if cte is child and not parent.args.get("recursive"):
                    break
                yield cte.alias.lower()
        elif not isinstance(child, exp.With) and (own := parent.args.get("with_")) is not None:
            yield from (cte.alias.lower() for cte in own.expressions)
        child, parent = parent, parent.parent
