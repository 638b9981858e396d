"""How the rows of a view are to be computed: out of what is kept of its groups, the touched groups alone, or whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Mode, Query, Replace, ReplaceGroups
from datalab.lake.beside import STATE, both_sides, is_exact, state_files, state_noted
from datalab.lake.read import are_there
from datalab.lake.table import DataFile, Difference, Relation, TableState
from datalab.names import TableName
from datalab.pipelines.aggregates import Kept, kept
from datalab.pipelines.changes import (
    ADDED,
    REMOVED,
    TOUCHED,
    changed_rows,
    joined_keys,
    only_touched,
    touched_groups,
)
from datalab.pipelines.context import Context
from datalab.pipelines.grouping import Grouping, grouping
from datalab.pipelines.joins import joined_grouping
from datalab.pipelines.keeping import NUMBERS, Files, Keeping, Lost, View, final_query, keeper, weighed
from datalab.pipelines.places import PLACES
from datalab.pipelines.steps import Step, TableRead

_MOST_CHANGES = 1_000_000


@dataclass(frozen=True)
class Prepared:
    """A query and the mode to stage it in; `offsets` and the files `beside` belong into the same commit.

    `keys` are the columns of touched groups and `touched` their values, where something is kept of groups; `places` is
    what was kept of where they are.
    """

    mode: Mode
    query: Query
    offsets: Mapping[str, Any] = field(default_factory=dict)
    beside: tuple[DataFile, ...] = ()
    keys: tuple[str, ...] = ()
    touched: pa.Table | None = None
    places: tuple[DataFile, ...] = ()


def prepared_whole(context: Context, query: Query, state: TableState) -> Prepared:
    """The whole view, out of its groups where those are worth keeping."""
    view = _view(query, state, context)
    maker = keeper(context.engine, view) if view else None
    made = maker.make(context.keep) if maker else None
    if made is None or view is None or maker is None:
        return Prepared(Replace(), query)
    return Prepared(Replace(), final_query(view, maker.upkeep, made.touched), state_noted(made.files), made.made)


def prepared_groups(context: Context, step: Step, query: Query, state: TableState) -> Prepared:
    """The groups that changed rows belong to."""
    part = _changed(step)
    assert part.until is not None
    source = context.lake.require(part.table)
    difference = context.lake.changed(source, part.since, part.until)
    if not are_there(difference):
        return prepared_whole(context, query, state)
    files = state_files(state, step.flow, (PLACES, NUMBERS))
    if files and difference.added.rows + difference.removed.rows <= _MOST_CHANGES:
        try:
            return _advanced(context, step, query, state, difference, files)
        except Lost:
            return prepared_whole(context, query, state)
    return _touched(context, step, query, difference)


def _advanced(
    context: Context, step: Step, query: Query, state: TableState, difference: Difference, files: Files
) -> Prepared:
    """The touched groups, out of what was kept and the changed rows."""
    view = _view(query, state, context)
    holder = keeper(context.engine, view) if view else None
    if view is None or holder is None:
        raise Lost
    source = str(_changed(step).table)

    def rows(side: Relation) -> pa.Table:
        relations = {**query.relations, source: side}
        return context.engine.read(Query(view.kept.rows(), relations, context.now, step.origin)).read_all()

    changes = weighed(rows(difference.added), rows(difference.removed))
    now = holder.advance(files, changes)
    final = final_query(view, holder.upkeep, now.touched)
    mode = _replaced(step.keys, now, context, step)
    return Prepared(mode, final, state_noted(now.files), now.made, step.keys, now.keys, files.get(PLACES, ()))


def _replaced(keys: tuple[str, ...], now: Keeping, context: Context, step: Step) -> ReplaceGroups:
    named = now.keys.rename_columns(list(keys))
    return ReplaceGroups(keys, _listed(keys, Relation(named.schema, memory=named), context, step))


def _touched(context: Context, step: Step, query: Query, difference: Difference) -> Prepared:
    """The touched groups, from all of their rows."""
    groups = _grouping(query, _changed(step).table)
    assert isinstance(groups, Grouping)
    keys = _touched_keys(context, query, groups, difference)
    touched = Relation(keys.schema, memory=keys)
    restricted = replace(query, tree=only_touched(query.tree, groups), relations={**query.relations, TOUCHED: touched})
    return Prepared(ReplaceGroups(groups.keys, _listed(groups.keys, touched, context, step)), restricted)


def _touched_keys(context: Context, query: Query, groups: Grouping, difference: Difference) -> pa.Table:
    names, rewritten = difference.added.schema.names, bool(difference.removed.files)
    sides = {ADDED: difference.added, REMOVED: difference.removed}
    if is_exact(difference):  # no row is there for its copy's sake: the keys of all of them are enough
        rewritten, sides = False, {ADDED: both_sides(difference)}

    def ask(tree: exp.Query, relations: Mapping[str, Relation]) -> pa.Table:
        return context.engine.read(Query(tree, relations, context.now, query.origin)).read_all()

    if not groups.joined:
        return ask(touched_groups(query.tree, groups, names, rewritten=rewritten), sides)
    rows = ask(changed_rows(None, names, rewritten=rewritten), sides)
    changed = {str(groups.table): Relation(rows.schema, memory=rows)}
    return ask(joined_keys(query.tree, groups), {**query.relations, **changed})


def _changed(step: Step) -> TableRead:
    return next(part for part in step.inputs if isinstance(part, TableRead) and part.part == "changed")


def _grouping(query: Query, table: TableName) -> Grouping | str:
    if len(query.relations) > 1:
        return joined_grouping(query.tree, table)
    (relation,) = query.relations.values()
    return grouping(query.tree, relation.schema.names)


def _groupings(query: Query) -> Iterator[Grouping | str]:
    """The groups as each of the tables changes: what is kept of them is the same."""
    return (_grouping(query, TableName.parse(name)) for name in query.relations)


def _listed(keys: tuple[str, ...], touched: Relation, context: Context, step: Step) -> Query:
    tree = exp.select(*[exp.column(key, quoted=True) for key in keys]).from_(TOUCHED)
    return Query(tree, {TOUCHED: touched}, context.now, step.origin)


def _view(query: Query, state: TableState, context: Context) -> View | None:
    """The view taken apart, if its groups can be kept."""
    groups = next((each for each in _groupings(query) if isinstance(each, Grouping)), "")
    apart = kept(query.tree, groups) if isinstance(groups, Grouping) else ""
    if not isinstance(apart, Kept):
        return None
    target = state.target()
    place = replace(target, location=f"{target.location}/{STATE}", partition=())
    return View(apart, query.relations, place, context.now, query.origin)
