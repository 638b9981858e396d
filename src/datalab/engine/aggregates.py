"""Which nodes of a Spark tree are aggregates: some of them sqlglot knows by name only."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

# Spark's name, and the class of the aggregate that answers the same.
NAMED_AGGREGATES: Final[dict[str, type[exp.AggFunc]]] = {
    "mean": exp.Avg,
    "std": exp.Stddev,
    "every": exp.LogicalAnd,
    "some": exp.LogicalOr,
}


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a node makes one value of several rows, window functions among them."""
    return isinstance(node, exp.AggFunc) or (isinstance(node, exp.Anonymous) and node.name.lower() in NAMED_AGGREGATES)


def has_aggregate(tree: exp.Expr) -> bool:
    """Whether an aggregate stands anywhere in a tree."""
    return any(map(is_aggregate, tree.walk()))
