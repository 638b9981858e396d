"""Queries with every name resolved: each column says which source of its SELECT it is of, stars are written out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from datalab.engine.dialect import name_results, write_out_all
from datalab.names import TableName, is_internal
from datalab.pipelines.cdc import cdc_query
from datalab.pipelines.graph import FlowNode

Columns = Mapping[TableName, Iterable[str]]


class Unresolved(Exception):
    """A query whose names cannot be resolved; carries the reason."""


def flow_query(node: FlowNode) -> exp.Query:
    """What a flow asks its inputs: its query, with the internal columns of AUTO CDC where it upserts."""
    return cdc_query(node.query, node.flow.cdc) if node.flow.cdc else node.query


def resolved(query: exp.Query, columns: Columns) -> Scope:
    """The scope of a resolved copy of a query over tables with these `columns`; names come in lower case. Unresolved.

    GROUP BY positions, ALL and aliases are written out; a name there is a column before it is an alias, as in Spark.
    """
    root = exp.Paren(this=query.copy())
    name_results(root)
    write_out_all(root)
    try:
        tree = qualify(
            root.this, dialect="spark", schema=_schema(columns), validate_qualify_columns=False, quote_identifiers=False
        )
        scope = build_scope(tree)
    except SqlglotError as error:
        raise Unresolved(str(error).splitlines()[0]) from error
    if scope is None:
        raise Unresolved("it is not a SELECT")
    return scope


def table_of(source: exp.Table) -> TableName:
    """The name of a table of the lake in a resolved query."""
    return TableName.parse(f"{source.db}.{source.name}")


def own_nodes(tree: exp.Expr) -> Iterator[exp.Expr]:
    """The nodes of an expression without those of the queries inside it."""
    return tree.walk(prune=lambda node: isinstance(node, exp.Query) and node is not tree)


def conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    """The parts of a condition that all have to hold."""
    if condition is None:
        return []
    if isinstance(condition, exp.Paren):
        return conjuncts(condition.this)
    return list(condition.flatten()) if isinstance(condition, exp.And) else [condition]


def _schema(columns: Columns) -> dict[str, object]:
    layers: dict[str, dict[str, dict[str, str]]] = {}
    for table, names in columns.items():
        shown = {name: "string" for name in names if not is_internal(name)}
        layers.setdefault(table.layer, {})[table.table] = shown
    return {**layers}
