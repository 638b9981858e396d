"""The provenance record that every commit carries: who wrote, from what, with which code, and what the checks said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

PROVENANCE_KEY = "datalab.provenance"
MAINTENANCE = frozenset({"compact", "define"})
RESTORE = "restore"
SAME_ROWS = "same_rows"


@dataclass(frozen=True)
class Range:
    """The part of an input table that a commit consumed: rows of the snapshots after `start`, up to `to`.

    `start` None means everything that the table held at `to`.
    """

    start: int | None
    to: int


@dataclass(frozen=True)
class CheckResult:
    """How many rows failed one constraint; `action` is warn, drop or fail."""

    name: str
    condition: str
    action: str
    failed: int


@dataclass(frozen=True)
class Position:
    """Where one flow stands: its code, the snapshot of each input that it has consumed, and source offsets.

    `offsets` must stay small: it is carried forward from commit to commit.
    """

    code: str
    inputs: Mapping[str, int] = field(default_factory=dict)
    offsets: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """What a commit says of itself. Counts are rows; read = written + quarantined + superseded.

    `kind` is append, upsert, replace, replace_groups, compact, define or restore (its positions are those of the
    snapshot that it goes back to). `superseded` counts rows of an upsert
    that lost against a later row of the same key. `details` is for the source of an ingest: the files consumed.
    `fresh`: the table starts over with this commit, so no other flow has a position in it any more.
    """

    run_id: str
    flow: str
    kind: str
    code: str = ""
    inputs: Mapping[str, Range] = field(default_factory=dict)
    offsets: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    read: int = 0
    written: int = 0
    quarantined: int = 0
    superseded: int = 0
    checks: tuple[CheckResult, ...] = ()
    positions: Mapping[str, Position] = field(default_factory=dict)
    commit_id: str = field(default_factory=lambda: uuid4().hex)
    fresh: bool = False

    def position(self) -> Position:
        """Where the flow stands once this commit has landed."""
        return Position(self.code, {name: part.to for name, part in self.inputs.items()}, self.offsets)

    def carrying(self, before: Mapping[str, Position]) -> Provenance:
        """This record with the positions of all flows into the table, its own brought up to date."""
        if self.kind == RESTORE:
            return self
        own = {} if self.kind in MAINTENANCE else {self.flow: self.position()}
        return replace(self, positions=own if self.fresh else {**before, **own})

    def to_json(self) -> str:
        """One line of JSON, empty fields left out."""
        record: dict[str, Any] = {
            key: value for key, value in vars(self).items() if value not in ({}, (), 0, "", False)
        }
        if self.inputs:
            record["inputs"] = {name: {"from": part.start, "to": part.to} for name, part in self.inputs.items()}
        if self.checks:
            record["checks"] = [vars(check) for check in self.checks]
        if self.positions:
            record["positions"] = {flow: vars(position) for flow, position in self.positions.items()}
        return json.dumps(record, separators=(",", ":"), default=dict)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read what `to_json` wrote; unknown fields of later versions are left out."""
        record = {key: value for key, value in json.loads(text).items() if key in cls.__dataclass_fields__}
        inputs = record.get("inputs", {})
        record["inputs"] = {name: Range(part["from"], part["to"]) for name, part in inputs.items()}
        record["checks"] = tuple(CheckResult(**check) for check in record.get("checks", ()))
        record["positions"] = {flow: Position(**value) for flow, value in record.get("positions", {}).items()}
        return cls(**record)
