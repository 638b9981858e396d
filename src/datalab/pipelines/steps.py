"""A plan's steps: small frozen values that say everything about the work to be done, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from datalab.engine.base import Check
from datalab.names import TableName

if TYPE_CHECKING:
    from sqlglot import exp

    from datalab.pipelines.model import AutoCdc

Part = Literal["all", "added", "changed"]
StepKind = Literal["append", "upsert", "replace", "replace_groups", "skip"]


@dataclass(frozen=True)
class TableRead:
    """What a step reads of a table: all of it at `until`, or the rows added or changed between two snapshots.

    `until` None means the head at the time of execution: the table changes earlier in the same run. `rows` is None
    where it is not known yet.
    """

    table: TableName
    part: Part
    since: int | None = None
    until: int | None = None
    rows: int | None = None

    def __str__(self) -> str:
        until = "its next snapshot" if self.until is None else str(self.until)
        if self.part == "all":
            return f"{self.table}: all at {until}"
        return f"{self.table}: rows {self.part} {self.since} → {until}"


@dataclass(frozen=True)
class SourceRead:
    """What an ingest step reads of a source: so many new units (files, partitions) of so many."""

    source: str
    unit: str
    new: int
    total: int

    def __str__(self) -> str:
        return f"{self.source}: {self.unit} {self.new:,} of {self.total:,}"


@dataclass(frozen=True)
class Step:
    """One piece of work on one table. `query` is the parsed tree in the Spark dialect, with its views inlined.

    `keys` are the key columns of an upsert or of the groups, `cdc` the clauses of AUTO CDC; `after` are the tables that
    must be done before. `fresh`: the table starts over, whatever it held. `base` is the target's snapshot that the plan
    was made from: a step is done against that one or not at all. `rebuild`: columns of the table may go or change their
    type with it; `conflict` says which would have to where that is not so, and then the step is refused.
    """

    target: TableName
    flow: str
    kind: StepKind
    reason: str
    inputs: tuple[TableRead | SourceRead, ...] = ()
    query: exp.Query | None = None
    checks: tuple[Check, ...] = ()
    keys: tuple[str, ...] = ()
    code: str = ""
    origin: str = ""
    after: tuple[TableName, ...] = ()
    fresh: bool = False
    base: int | None = None
    cdc: AutoCdc | None = None
    rebuild: bool = False
    conflict: tuple[str, ...] = ()

    def skipped(self, reason: str) -> Step:
        """The same step with nothing to do."""
        return replace(self, kind="skip", reason=reason, inputs=())

    def to_dict(self) -> dict[str, Any]:
        """The step as plain values for JSON."""
        return {
            "target": str(self.target),
            "flow": self.flow,
            "kind": self.kind,
            "reason": self.reason,
            "inputs": [str(part) for part in self.inputs],
            "keys": list(self.keys),
            "checks": [
                {"name": c.name, "action": c.action, "condition": c.condition.sql("spark")} for c in self.checks
            ],
            "query": self.query.sql("spark") if self.query is not None else None,
            "code": self.code,
            "origin": self.origin,
            "fresh": self.fresh,
            "conflict": list(self.conflict),
            "after": [str(name) for name in self.after],
        }
