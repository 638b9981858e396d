"""What became of each event of a key: which one an upsert kept, and why it did not keep the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from sqlglot import exp

from datalab.lineage.flows import Way, is_comparable
from datalab.lineage.records import is_same
from datalab.lineage.rows import PARENT, Tables
from datalab.names import VERSION_COLUMNS
from datalab.pipelines.cdc import DELETED, SEQUENCE, unrepeatable_columns

KEPT, AGAIN, SUPERSEDED, DELETE = "kept", "kept (delivered again)", "superseded", "deletes its key"
OTHER, CONFIRMS = "of another version", "kept (the version goes on)"
_CHECK = "__check_"


def judged(tables: Tables, way: Way, targets: pa.Table, rows: pa.Table) -> list[str]:
    """A word for each of the rows that an upsert read; `__parent` is the number of its target row. Others: none.

    The row that was kept equals its target in every column that the clock or chance did not make.
    """
    if way.node.flow.cdc is None or way.strand.summed or not rows.num_rows:
        return [""] * rows.num_rows
    expressions = _expressions(way, targets.schema)
    events = tables.compute(rows, expressions).to_pylist()
    parents = targets.to_pylist()
    seen: set[int] = set()
    words = []
    for parent, event in zip(rows.column(PARENT).to_pylist(), events, strict=True):
        word = _word(event, parents[parent])
        words.append(AGAIN if word == KEPT and parent in seen else word)
        seen |= {parent} if word == KEPT else set()
    return words


def refused(event: Mapping[str, Any]) -> str:
    """The constraint that a computed event broke, in words; empty where it broke none."""
    names = [
        name.removeprefix(_CHECK) for name, passed in event.items() if name.startswith(_CHECK) and passed is not True
    ]
    return f"set aside: {', '.join(names)}" if names else ""


def checks_of(way: Way) -> dict[str, exp.Expr]:
    """The constraints of a way's target over the input, to be computed."""
    return {f"{_CHECK}{name}": part for name, part in way.checks.items()}


def _expressions(way: Way, schema: pa.Schema) -> dict[str, exp.Expr]:
    """What the target's columns are over an event, with its sequence, its wish to delete, and the constraints."""
    moving = unrepeatable_columns(way.node.query, schema.names)
    names = [column.name for column in schema if is_comparable(column) and column.name not in moving]
    wanted = {name: way.strand.columns.get(name.lower()) for name in [*names, SEQUENCE, DELETED]}
    return {name: part for name, part in wanted.items() if part is not None} | checks_of(way)


def _word(event: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    if broken := refused(event):
        return broken
    if event.get(DELETED):
        return DELETE
    if VERSION_COLUMNS[0] in target:
        return _version_word(event.get(SEQUENCE), *(target[name] for name in VERSION_COLUMNS))
    told = [name for name in event if name in target]
    return KEPT if all(is_same(event[name], target[name]) for name in told) else SUPERSEDED


def _version_word(sequence: Any, start: Any, end: Any) -> str:
    """Where an event stands to one version of its key in a table that keeps history."""
    if sequence is None or start is None or sequence < start or (end is not None and sequence >= end):
        return OTHER
    return KEPT if sequence == start else CONFIRMS


def is_kept(word: str) -> bool:
    """Whether an event made its target what it is; rows of flows that keep everything have no word."""
    return word in ("", KEPT, AGAIN, CONFIRMS)
