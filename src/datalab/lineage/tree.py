"""What a trace answers: rows, each with the rows of other tables that it came from, or that it went into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One row of a table at a snapshot. `keys` tell it apart; `position` is its place in a source, as file:row.

    `status` says what became of it on the way, where that is not plain: superseded, set aside, not wanted.
    """

    table: str
    snapshot: int | None
    keys: Mapping[str, Any]
    values: Mapping[str, Any]
    position: str = ""
    status: str = ""
    reads: tuple[Read, ...] = ()


@dataclass(frozen=True)
class Read:
    """The rows of one table that belong to a row of another: `total` of them, the first as `rows`.

    `by` is what was followed: columns of the later table, each as an expression over the earlier one. Where keys could
    not be followed, `total` is None and `notes` name the range instead: the snapshot, and how many rows it holds.
    """

    table: str
    snapshot: int | None
    flow: str
    by: Mapping[str, str] = field(default_factory=dict)
    total: int | None = None
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Rows:
    """The rows of a table that were asked for: `total` of them, the first as `rows`."""

    total: int
    rows: tuple[Row, ...]


def positions(row: Row) -> Iterator[str]:
    """The source positions of all records below a row, in order of the tree."""
    if row.position:
        yield row.position
    for read in row.reads:
        for inner in read.rows:
            yield from positions(inner)
