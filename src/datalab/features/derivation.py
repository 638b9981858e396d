"""A gold view's query taken apart for questions about the past: its groups, its event time, the query at moments.

The view groups the rows of one table. "The features of an entity at a moment" is the same query over the rows of its
group that had happened before: the input of the GROUP BY is joined with the moments asked for, and each moment
becomes a group of its own. What the query computes stays as it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
from sqlglot import exp

from datalab.engine.aggregates import NAMED_AGGREGATES
from datalab.errors import FeatureError
from datalab.features.views import FeatureView
from datalab.names import TableName
from datalab.pipelines.graph import FlowNode, Graph
from datalab.pipelines.group_by import group_items
from datalab.pipelines.grouping import Grouping, grouping
from datalab.pipelines.lex import Source
from datalab.pipelines.query import parse_query
from datalab.pipelines.views import tables_of

if TYPE_CHECKING:
    from datalab.features.views import Accuracy

MOMENTS = "datalab_moments"
ROW, MOMENT = "datalab_row", "datalab_moment"
Describe = Callable[[exp.Query], pa.Schema]


@dataclass(frozen=True)
class Definition:
    """All that decides a view's features at a moment, as plain values: it is kept with each training set.

    `query` is the gold view's, in the Spark dialect, with its temporary views written in; `ttl` is in seconds.
    """

    name: str
    table: str
    query: str
    entity: tuple[str, ...]
    timestamp: str
    features: tuple[str, ...]
    accuracy: Accuracy
    arrived: str
    ttl: float | None
    file: str

    @property
    def source(self) -> TableName:
        """The one table that the query reads. FeatureError where there is not one."""
        names = {TableName.parse(f"{table.db}.{table.name}".lower()) for table in tables_of(self.tree())}
        if len(names) != 1:
            refuse(self, "it reads several tables" if names else "it reads no table")
        return names.pop()

    def tree(self) -> exp.Query:
        """The query, parsed."""
        return parse_query(Source(f"the query of {self.table}", self.query), 0, len(self.query))

    def record(self) -> Mapping[str, Any]:
        """Plain values for JSON."""
        return {name: list(part) if isinstance(part, tuple) else part for name, part in asdict(self).items()}


def define(view: FeatureView, graph: Graph) -> Definition:
    """The definition of a view by the project's present pipelines. FeatureError where no flow makes its table."""
    nodes = graph.into(view.table)
    if len(nodes) != 1 or nodes[0].flow.kind != "materialize":
        raise FeatureError(
            f"{view.file}: {view.table} is no materialized view of this project",
            f"declare it: CREATE MATERIALIZED VIEW {view.table} AS SELECT …",
        )
    query = _checked(nodes[0]).sql("spark", comments=False)
    ttl = view.ttl.total_seconds() if view.ttl else None
    fields = (view.entity, view.timestamp, view.features, view.accuracy, view.arrived, ttl, view.file)
    return Definition(view.name, str(view.table), query, *fields)


def _checked(node: FlowNode) -> exp.Query:
    """The view's query without the rows that its constraints keep out of the table."""
    kept = [
        exp.Is(this=exp.paren(rule.condition.copy()), expression=exp.true())
        for rule in node.dataset.constraints
        if rule.action == "drop"
    ]
    return exp.select("*").from_(node.query.copy().subquery("datalab_made")).where(*kept) if kept else node.query


def definition_of(record: Mapping[str, Any]) -> Definition:
    """A definition from what `record` made of it."""
    values: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in record.items()}
    return Definition(**values)


@dataclass(frozen=True)
class Derivation:
    """A grouped query ready to be asked about moments.

    `keys` (in the order of the view's entity) and `event` are expressions over the input of its GROUP BY; `features`
    are the columns wanted of its result.
    """

    definition: Definition
    tree: exp.Select
    table: TableName
    keys: tuple[exp.Expr, ...]
    event: exp.Expr
    features: tuple[str, ...]

    @property
    def grouped(self) -> exp.Select:
        """The SELECT that groups."""
        return _levels(self.tree)[-1]

    def over_input(self, columns: Sequence[exp.Expr]) -> exp.Select:
        """The columns over each row of the GROUP BY's input, asked of all groups and moments."""
        select = self.grouped.copy()
        for clause in ("having", "group"):
            select.set(clause, None)
        select.set("expressions", [column.copy() for column in columns])
        return select

    def at_moments(self, rewrite: Callable[[exp.Select], None]) -> exp.Select:
        """The features of each row of `datalab_moments`, by datalab_row; no row where nothing had happened.

        `rewrite` may change how the SELECT that groups computes its aggregates.
        """
        tree = self.tree.copy()
        *above, grouped = _levels(tree)
        rewrite(grouped)
        grouped.join(exp.to_table(MOMENTS), on=exp.and_(*self._before()), copy=False)
        grouped.args["group"].append("expressions", _own(ROW))
        for level in (*above, grouped):
            if not any(item.is_star for item in level.expressions):
                level.select(_own(ROW) if level is grouped else exp.column(ROW), copy=False)
        wanted = [exp.column(ROW), *(exp.column(name, quoted=True) for name in (self.timestamp, *self.features))]
        return exp.select(*wanted).from_(tree.subquery("datalab_view"))

    @property
    def timestamp(self) -> str:
        """The column of the result that says when its features held."""
        return self.definition.timestamp

    def _before(self) -> list[exp.Expr]:
        same: list[exp.Expr] = [
            exp.NullSafeEQ(this=key.copy(), expression=_own(f"datalab_k{number}"))
            for number, key in enumerate(self.keys)
        ]
        return [*same, *(exp.LT(this=exp.paren(time.copy()), expression=_own(MOMENT)) for time in self._times)]

    @property
    def since(self) -> exp.Expr:
        """From when on a row counts, over the input: its event or, where that matters and is later, its arrival."""
        event, *arrived = self._times
        if not arrived:
            return event
        later = exp.GTE(this=exp.paren(arrived[0].copy()), expression=exp.paren(event.copy()))
        earlier = exp.LT(this=exp.paren(arrived[0].copy()), expression=exp.paren(event.copy()))
        return exp.Case().when(later, arrived[0].copy()).when(earlier, event.copy())

    @property
    def _times(self) -> list[exp.Expr]:
        arrived = self.definition.arrived
        return [self.event, *([exp.column(arrived, quoted=True)] if arrived else [])]


def derive(definition: Definition, describe: Describe, columns: Sequence[str]) -> Derivation:
    """Take a view's query apart; `describe` answers the columns of a query, `columns` are those of its table.

    FeatureError, with file and reason, where features at a moment do not follow from it.
    """
    tree = definition.tree()
    groups = grouping(tree, columns)
    if not isinstance(groups, Grouping):
        refuse(definition, groups)
    if {key.lower() for key in groups.keys} != {name.lower() for name in definition.entity}:
        refuse(definition, f"it groups by {', '.join(groups.keys)}, and the entity is {', '.join(definition.entity)}")
    nested = _spelled_out(_nested(tree, {}))
    levels = _levels(nested)
    keys = tuple(_traced(levels, name) for name in definition.entity)
    newest = _traced(levels, definition.timestamp)
    if not isinstance(newest, exp.Max) or newest.expressions or newest.find(exp.Distinct):
        said = newest.sql("spark") if newest is not None else "no column of it"
        refuse(definition, f"its timestamp {definition.timestamp} is {said}, not max(event time)")
    if any(key is None for key in keys):
        refuse(definition, "its entity cannot be followed to the GROUP BY")
    found = Derivation(definition, nested, groups.table, keys, newest.this, ())  # type: ignore[arg-type]
    _check_times(found, describe)
    return replace(found, features=_features(definition, [field.name for field in describe(nested)]))


def refuse(definition: Definition, reason: str) -> NoReturn:
    """FeatureError: the features at a moment do not follow from the gold query."""
    raise FeatureError(
        f"{definition.file}: the features of {definition.table} at a moment cannot be derived: {reason}",
        "a gold view of features is SELECT …, max(event time) AS … FROM one table GROUP BY the entity",
    )


def _own(name: str) -> exp.Column:
    return exp.column(name, MOMENTS)


def _check_times(found: Derivation, describe: Describe) -> None:
    arrived = found.definition.arrived
    if arrived and arrived.lower() not in {field.name.lower() for field in describe(found.over_input([exp.Star()]))}:
        refuse(found.definition, f"the GROUP BY reads no column {arrived} (arrived)")
    times = [exp.alias_(found.event.copy(), "event")]
    times += [exp.alias_(exp.column(arrived, quoted=True), "arrived")] if arrived else []
    for field in describe(found.over_input(times)):
        if not pa.types.is_timestamp(field.type):
            refuse(found.definition, f"its time of {field.name} is of type {field.type}, not a moment")


def _features(definition: Definition, columns: Sequence[str]) -> tuple[str, ...]:
    missing = [name for name in definition.features if name not in columns]
    if missing:
        refuse(definition, f"it has no column {missing[0]}")
    others = tuple(name for name in columns if name not in {*definition.entity, definition.timestamp})
    return definition.features or others


def _nested(select: exp.Query, visible: Mapping[str, exp.Select]) -> exp.Select:
    """The query with each common table expression where it is read, and GROUP BY ALL written out.

    grouping() saw that it is one chain.
    """
    assert isinstance(select, exp.Select)
    tree = select.copy()
    known = dict(visible)
    clause = tree.args.get("with_")
    for common in clause.expressions if clause is not None else ():
        known[common.alias.lower()] = _nested(common.this, known)
    tree.set("with_", None)
    if tree.args.get("group") and tree.args["group"].args.get("all"):
        tree.set("group", exp.Group(expressions=[item.expression.copy() for item in group_items(tree)]))
    source = tree.args["from_"].this
    if isinstance(source, exp.Table) and not source.db and source.name.lower() in known:
        source.replace(known[source.name.lower()].copy().subquery(source.alias or source.name))
    elif isinstance(source, exp.Subquery):
        source.set("this", _nested(source.this, known))
    return tree


def _spelled_out(tree: exp.Select) -> exp.Select:
    """The same with the second names of aggregates, which the parser does not know, replaced by the first."""

    def first_name(node: exp.Expr) -> exp.Expr:
        kind = NAMED_AGGREGATES.get(node.name.lower()) if isinstance(node, exp.Anonymous) else None
        return kind(this=node.expressions[0]) if kind and len(node.expressions) == 1 else node

    made = tree.transform(first_name)
    assert isinstance(made, exp.Select)
    return made


def _levels(tree: exp.Select) -> list[exp.Select]:
    """The SELECTs from the outermost down to the one that groups."""
    levels = [tree]
    while not levels[-1].args.get("group"):
        source = levels[-1].args["from_"].this
        levels.append(source.this)
    return levels


def _traced(levels: Sequence[exp.Select], name: str) -> exp.Expr | None:
    """What a column of the result is at the level that groups."""
    found: exp.Expr | None = None
    for level in levels:
        found = next((item.unalias() for item in level.expressions if item.alias_or_name.lower() == name.lower()), None)
        if level is levels[-1]:
            return found
        if found is None and any(item.is_star for item in level.expressions):
            continue
        if not isinstance(found, exp.Column):
            return None
        name = found.name
    return found
