"""Which grouped views can be kept up from the change of their input alone: their aggregates, one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from datalab.pipelines.grouping import Grouping

_NAMED = {"mean": "avg", "std": "stddev_samp", "every": "min", "some": "max"}
_PLAIN: dict[type[exp.Expr], str] = {
    exp.CountIf: "count", exp.Sum: "sum", exp.Avg: "avg",
    exp.Stddev: "stddev_samp", exp.StddevSamp: "stddev_samp", exp.StddevPop: "stddev_pop",
    exp.Variance: "var_samp", exp.VariancePop: "var_pop",
    exp.Min: "min", exp.Max: "max", exp.LogicalAnd: "min", exp.LogicalOr: "max",
    exp.ApproxDistinct: "distinct", exp.Mode: "mode", exp.Median: "quantile", exp.Quantile: "quantile",
}  # fmt: skip
_AGGREGATES = (exp.AggFunc, exp.Filter, exp.WithinGroup)


class _NotKept(Exception):
    """Carries the reason to the door of this module."""


@dataclass(frozen=True)
class Argument:
    """What is aggregated, as an expression over a row; `share` is set for quantiles."""

    value: exp.Expr
    share: float | None = None


@dataclass(frozen=True)
class Call:
    """One aggregate of a view: a function over an argument, by number; -1 for `count(*)`."""

    function: str
    argument: int = -1


@dataclass(frozen=True)
class Kept:
    """A view taken apart: group keys and arguments as expressions over what `select` reads, and the calls.

    `final` is the SELECT over one row per group: keys are `_k0 …`, results of the calls `_r0 …`.
    """

    select: exp.Select = field(compare=False)
    keys: tuple[exp.Expr, ...]
    arguments: tuple[Argument, ...]
    calls: tuple[Call, ...]
    final: exp.Select = field(compare=False)

    def functions(self, argument: int) -> frozenset[str]:
        """The functions over one argument."""
        return frozenset(call.function for call in self.calls if call.argument == argument)

    def rows(self) -> exp.Select:
        """The rows that are grouped: `_k0 …` and `_a0 …` of each."""
        tree = self.select.copy()
        keys = [exp.alias_(key.copy(), f"_k{number}") for number, key in enumerate(self.keys)]
        arguments = [exp.alias_(each.value.copy(), f"_a{number}") for number, each in enumerate(self.arguments)]
        tree.set("expressions", [*keys, *arguments])
        tree.set("group", None)
        tree.set("having", None)
        return tree


def kept(query: exp.Query, groups: Grouping) -> Kept | str:
    """The view taken apart, or why its groups cannot be kept up from the change alone."""
    if groups.select is not query or not isinstance(query, exp.Select):
        return "its groups are worked on once more"
    if query.args.get("order"):
        return "its result is ordered"
    try:
        return _TakingApart(groups).apart(query)
    except _NotKept as reason:
        return str(reason)


class _TakingApart:
    """Collects the calls and their distinct arguments, and puts columns in their place."""

    def __init__(self, groups: Grouping) -> None:
        self._keys = groups.items
        self._several = groups.joined
        self._plain_keys = [_plain(key, tables=self._several) for key in groups.items]
        self._arguments: list[Argument] = []
        self._calls: list[Call] = []

    def apart(self, query: exp.Select) -> Kept:
        tree = query.copy()
        final = exp.select(*[self._output(item) for item in tree.expressions]).from_("_groups")
        having = tree.args.get("having")
        if having is not None:
            final = final.where(self._replaced(having.this), copy=False)
        return Kept(query, self._keys, tuple(self._arguments), tuple(self._calls), final)

    def _output(self, item: exp.Expr) -> exp.Expr:
        if item.is_star:
            raise _NotKept("it selects a star")
        name = item.alias_or_name or item.sql(dialect="spark", comments=False).lower()
        return exp.alias_(self._replaced(item.unalias()), name, quoted=True)

    def _replaced(self, node: exp.Expr) -> exp.Expr:
        """The expression over one row per group."""
        plain = _plain(node, tables=self._several)
        if plain in self._plain_keys:
            return exp.column(f"_k{self._plain_keys.index(plain)}")
        if isinstance(node, _AGGREGATES) or (isinstance(node, exp.Anonymous) and node.name.lower() in _NAMED):
            return exp.column(f"_r{self._number(self._call(node))}")
        if isinstance(node, exp.Column):
            raise _NotKept(f"{node.sql('spark')} is no group key")
        if isinstance(node, exp.Query):
            raise _NotKept("its results need a subquery")
        node = node.copy()
        for name, part in list(node.args.items()):
            if isinstance(part, exp.Expr):
                node.set(name, self._replaced(part))
            elif isinstance(part, list):
                node.set(name, [self._replaced(each) if isinstance(each, exp.Expr) else each for each in part])
        return node

    def _number(self, call: Call) -> int:
        if call not in self._calls:
            self._calls.append(call)
        return self._calls.index(call)

    def _call(self, node: exp.Expr) -> Call:
        if isinstance(node, exp.Filter):
            return self._named(node.this, node.expression.this)
        return self._named(node, None)

    def _named(self, node: exp.Expr, only: exp.Expr | None) -> Call:
        if isinstance(node, exp.Count):
            return self._count(node, only)
        if isinstance(node, exp.Anonymous) and node.name.lower() in _NAMED and len(node.expressions) == 1:
            return Call(_NAMED[node.name.lower()], self._argument(node.expressions[0], only))
        if isinstance(node, exp.WithinGroup):
            return self._within(node, only)
        function = _PLAIN.get(type(node))
        if function is None or node.args.get("expressions") or isinstance(node.this, exp.Distinct):
            raise _NotKept(f"{node.sql('spark')} needs the rows of its group")
        if isinstance(node, exp.CountIf):
            return Call("count", self._argument(_where(exp.Literal.number(1), node.this), only))
        if function == "quantile":
            return self._quantile(node.this, node.args.get("quantile"), only)
        if isinstance(node, exp.Min | exp.Max) and isinstance(node.this, exp.Struct):
            raise _NotKept(f"{node.sql('spark')} needs the rows of its group")
        return Call(function, self._argument(node.this, only))

    def _count(self, node: exp.Count, only: exp.Expr | None) -> Call:
        inner = node.this
        if isinstance(inner, exp.Distinct):
            if len(inner.expressions) != 1:
                raise _NotKept(f"{node.sql('spark')} needs the rows of its group")
            return Call("distinct", self._argument(inner.expressions[0], only))
        if node.expressions:
            raise _NotKept(f"{node.sql('spark')} needs the rows of its group")
        whole = isinstance(inner, exp.Star | exp.Literal)
        if whole and only is None:
            return Call("rows")
        return Call("count", self._argument(exp.Literal.number(1) if whole else inner, only))

    def _within(self, node: exp.WithinGroup, only: exp.Expr | None) -> Call:
        ordered = node.expression.expressions
        if not isinstance(node.this, exp.PercentileCont) or len(ordered) != 1 or ordered[0].args.get("desc"):
            raise _NotKept(f"{node.sql('spark')} needs the rows of its group")
        return self._quantile(ordered[0].this, node.this.this, only)

    def _quantile(self, value: exp.Expr, share: exp.Expr | None, only: exp.Expr | None) -> Call:
        if share is not None and not (isinstance(share, exp.Literal) and not share.is_string):
            raise _NotKept(f"a percentile of {share.sql('spark')} needs the rows of its group")
        chosen = 0.5 if share is None else float(share.name)
        if not 0 <= chosen <= 1:
            raise _NotKept(f"there is no percentile of {chosen}")
        double = exp.cast(value.copy(), "double", dialect="spark")
        return Call("quantile", self._argument(double, only, chosen))

    def _argument(self, value: exp.Expr, only: exp.Expr | None, share: float | None = None) -> int:
        if value.find(*_AGGREGATES):
            raise _NotKept("it aggregates an aggregate")
        wanted = Argument(value if only is None else _where(value, only), share)
        if wanted not in self._arguments:
            self._arguments.append(wanted)
        return self._arguments.index(wanted)


def _where(value: exp.Expr, condition: exp.Expr) -> exp.Case:
    return exp.Case(ifs=[exp.If(this=condition.copy(), true=value.copy())])


def _plain(node: exp.Expr, *, tables: bool) -> exp.Expr:
    """The expression in a form in which equal ones are equal: names in lower case, and no tables unless wanted."""
    tree = node.copy()
    for identifier in tree.find_all(exp.Identifier):
        identifier.set("this", identifier.name.lower())
        identifier.set("quoted", False)
    for column in () if tables else tree.find_all(exp.Column):
        for part in ("table", "db", "catalog"):
            column.set(part, None)
    return tree
