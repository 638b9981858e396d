"""What a user asked to run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from datalab.names import TableName

if TYPE_CHECKING:
    from datalab.pipelines.graph import FlowNode


@dataclass(frozen=True)
class Wish:
    """What the user asked to run: these tables and all before them (none named: everything), some from scratch."""

    tables: tuple[TableName, ...] = ()
    refresh: frozenset[TableName] = field(default_factory=frozenset)
    refresh_all: bool = False
    ingest: bool = True
    flows: bool = True

    def refreshed(self, nodes: Sequence[FlowNode]) -> frozenset[TableName]:
        """The tables to be computed from scratch."""
        return frozenset(node.flow.target for node in nodes) if self.refresh_all else self.refresh

    def of_sources_alone(self, fed: Iterable[TableName]) -> bool:
        """Whether no flow can be meant; `fed` are the tables that sources feed."""
        named = {*self.tables, *self.refresh}
        return named <= set(fed) if named else not (self.flows or self.refresh_all)

    def without_ingest(self) -> Wish:
        """The same, the flows alone."""
        return replace(self, ingest=False)
