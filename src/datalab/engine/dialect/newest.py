"""Several columns of the same newest row, asked for by several max_by (min_by), found by one aggregate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlglot import exp

_FEWEST = 2


def share_rows(root: exp.Expr) -> None:
    """In each SELECT, max_by(a, t), max_by(b, t) become the fields of max_by(struct(a, b), t); a Spark tree stays one.

    Each alone would keep its own copy of t and compare rows on its own: twelve took twelve times as long as one, in
    ten times the memory. Of several rows with the same t one row answers for all of them.
    """
    alike: dict[tuple[int, type[exp.Expr], exp.Expr], list[exp.Expr]] = defaultdict(list)
    for node in root.find_all(exp.ArgMax, exp.ArgMin):
        if not isinstance(node.parent, exp.Filter | exp.Window) and set(_given(node)) == {"this", "expression"}:
            alike[id(node.parent_select), type(node), node.expression].append(node)
    for nodes in alike.values():
        if len({node.this for node in nodes}) >= _FEWEST:
            _share(nodes)


def _given(node: exp.Expr) -> list[str]:
    return [name for name, value in node.args.items() if value]


def _share(nodes: Sequence[exp.Expr]) -> None:
    wanted = list(dict.fromkeys(node.this.copy() for node in nodes))
    names = {column: f"c{number}" for number, column in enumerate(wanted)}
    fields = [exp.PropertyEQ(this=exp.to_identifier(name), expression=column.copy()) for column, name in names.items()]
    row = type(nodes[0])(this=exp.Struct(expressions=fields), expression=nodes[0].expression.copy())
    for node in nodes:
        node.replace(exp.Dot(this=exp.paren(row.copy()), expression=exp.to_identifier(names[node.this])))
