"""The flows of a project as ways between tables: which columns of a target tell which rows of an input, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
from sqlglot import exp

from datalab.errors import TableNotFound
from datalab.lineage.resolve import Unresolved, flow_query, resolved
from datalab.lineage.rows import Link, Tables
from datalab.lineage.strands import Strand, over, strands
from datalab.names import VERSION_COLUMNS, TableName
from datalab.pipelines.cdc import DELETED, SEQUENCE, condition
from datalab.pipelines.graph import FlowNode, Graph
from datalab.pipelines.grouping import nondeterministic

FILE_POSITION = ("source_file", "source_row")
STREAM_POSITION = ("source_topic", "source_partition", "source_offset")


@dataclass(frozen=True)
class Way:
    """One place where a flow reads a table. `links` equal columns of the target; `reason` says why there are none."""

    node: FlowNode
    strand: Strand
    links: tuple[Link, ...] = ()
    reason: str = ""

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.node.flow.name

    @property
    def by(self) -> Mapping[str, str]:
        """What is followed: columns of the target, over the input, for people."""
        return {link.column: shown(link.expression) for link in self.links}

    @cached_property
    def checks(self) -> Mapping[str, exp.Expr]:
        """Conditions without which a row of the input is set aside, by the name of the constraint."""
        rules = [rule for rule in self.node.dataset.constraints if rule.action == "drop"]
        kept = ((rule.name, over(condition(rule.condition, self.node.flow.cdc), self.strand.columns)) for rule in rules)
        return {name: part for name, part in kept if part is not None and not self.strand.summed}


@dataclass
class Flows:
    """The ways of a graph, worked out when they are first asked for."""

    graph: Graph
    tables: Tables
    _ways: dict[str, tuple[Way, ...]] = field(default_factory=dict)

    def into(self, table: TableName) -> tuple[FlowNode, ...]:
        """The flows that feed a table."""
        return self.graph.into(table)

    def out_of(self, table: TableName) -> tuple[list[FlowNode], list[FlowNode]]:
        """The flows that read a table: those whose targets exist, and those whose targets were not made yet."""
        reading = [node for node in self.graph.flows if any(read.table == table for read in node.inputs)]
        made = [node for node in reading if self.tables.exists(node.flow.target)]
        return made, [node for node in reading if node not in made]

    def ways(self, node: FlowNode) -> tuple[Way, ...]:
        """All places where a flow reads a table."""
        if node.flow.name not in self._ways:
            self._ways[node.flow.name] = self._worked_out(node)
        return self._ways[node.flow.name]

    def identity(self, table: TableName) -> tuple[str, ...]:
        """Columns that tell the rows of a table apart; none where nothing says so."""
        for node in self.into(table):
            if node.flow.cdc is not None:
                version = VERSION_COLUMNS[:1] if node.flow.cdc.scd_type == 2 else ()
                return self._exact(table, (*node.flow.cdc.keys, *version))
            summed = next((way for way in self.ways(node) if way.strand.summed and way.links), None)
            if summed is not None:
                return tuple(link.column for link in summed.links)
        return self.position_columns(table)

    def position_columns(self, table: TableName) -> tuple[str, ...]:
        """Columns that say where in a source a row came from."""
        names = self.tables.state(table).schema.names
        return next((held for held in (STREAM_POSITION, FILE_POSITION) if set(held) <= set(names)), ())

    def _worked_out(self, node: FlowNode) -> tuple[Way, ...]:
        try:
            columns = {read.table: self.tables.state(read.table).schema.names for read in node.inputs}
            found = strands(resolved(flow_query(node), columns))
        except (Unresolved, TableNotFound) as error:
            reason = f"the query of {node.flow.name} cannot be followed: {error}"
            return tuple(Way(node, Strand(read.table, {}), reason=reason) for read in node.inputs)
        unlike = {_signature(strand): strand for strand in found}
        return tuple(self._way(node, strand) for strand in unlike.values())

    def _way(self, node: FlowNode, strand: Strand) -> Way:
        schema = self.tables.state(node.flow.target).schema
        keys = {name.lower() for name in node.flow.cdc.keys} if node.flow.cdc else None
        links = tuple(
            Link(column.name, expression, loose=strand.partial)
            for column in schema
            if (keys is None or column.name.lower() in keys)
            and (expression := strand.columns.get(column.name.lower())) is not None
            and is_comparable(column)
            and not nondeterministic(expression)
        )
        reason = _reason(strand, links)
        return Way(node, strand, () if reason else links, reason)

    def _exact(self, table: TableName, names: tuple[str, ...]) -> tuple[str, ...]:
        exact = {name.lower(): name for name in self.tables.state(table).schema.names}
        return tuple(exact[name.lower()] for name in names)


def shown(expression: exp.Expr) -> str:
    """An expression over an input's row, for people."""
    plain = expression.copy()
    for column in plain.find_all(exp.Column):
        column.set("table", None)
        column.this.set("quoted", False)
    return plain.sql("spark")


def is_comparable(column: pa.Field) -> bool:
    """Whether equal values of a column can be looked for: no nested ones, none that were rounded to 32 bits."""
    kind = column.type
    inexact = pa.types.is_nested(kind) or pa.types.is_float32(kind) or pa.types.is_binary(kind)
    return not inexact and column.name not in (SEQUENCE, DELETED, *VERSION_COLUMNS)


def _reason(strand: Strand, links: tuple[Link, ...]) -> str:
    if strand.unheeded:
        return "its rows only decide which others come through"
    if any(link.expression.find(exp.Column) for link in links):
        return ""
    if strand.summed:
        return "the query sums up all of its rows"
    return "no key of the result is made of its columns alone"


def _signature(strand: Strand) -> tuple[object, ...]:
    told = {name: part.sql() if part is not None else None for name, part in strand.columns.items()}
    return strand.table, tuple(sorted(told.items())), tuple(part.sql() for part in strand.conditions), strand.unheeded
