"""Rows of a training set as the model will meet them when it serves: what a request brings, and what the views know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datalab.errors import ModelError
from datalab.ml.declaration import Declaration, Input
from datalab.ml.graph import Array, Columns

_FEWEST = 10  # rows of each outcome, in each part
_COUNTED = (pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)


@dataclass(frozen=True)
class Rows:
    """Rows in the order of their moments: label [N] bool, moment [N] µs since 1970 UTC, and all columns."""

    table: pa.Table
    label: Array
    moment: Array

    def __len__(self) -> int:
        return len(self.label)

    def part(self, start: int, stop: int) -> Rows:
        """Rows from `start` up to `stop`."""
        return Rows(self.table.slice(start, stop - start), self.label[start:stop], self.moment[start:stop])

    def texts(self, column: str) -> Array:
        """A column as texts, empty where missing."""
        return _texts(self.table.column(column))

    @property
    def span(self) -> tuple[str, str]:
        """First and last moment, as dates and times in UTC."""
        return tuple(datetime.fromtimestamp(int(at) / 1e6, UTC).isoformat() for at in self.moment[[0, -1]])  # type: ignore[return-value]


@dataclass(frozen=True)
class Parts:
    """Rows split by time: the estimator learns from the first, calibration from the next, the last are for judging."""

    training: Rows
    calibration: Rows
    holdout: Rows


def select(table: pa.Table, declaration: Declaration) -> Rows:
    """The rows of the training window that have a label, oldest first. ModelError where columns are missing."""
    require_columns(table, declaration)
    label, moment = table.column(declaration.label), table.column(declaration.moment)
    table = table.filter(pc.and_(pc.is_valid(label), pc.is_valid(moment)))
    if declaration.window is not None and table.num_rows:
        since = pc.subtract(pc.max(table.column(declaration.moment)), pa.scalar(declaration.window))
        table = table.filter(pc.greater(table.column(declaration.moment), since))
    ties = dict.fromkeys(part.own_column for part in declaration.inputs)
    order = [(declaration.moment, "ascending"), *((name, "ascending") for name in ties)]
    return _rows(table.sort_by(order), declaration)


def require_columns(table: pa.Table, declaration: Declaration) -> None:
    """ModelError that names the columns which the training set lacks."""
    wanted = {declaration.label, declaration.moment, *declaration.groups, declaration.known} - {""}
    wanted |= {part.own_column for part in declaration.inputs}
    wanted |= {part.default.column for part in declaration.inputs if part.default is not None}
    wanted |= {part.column for parts in declaration.views.values() for part in parts if part.view is not None}
    if missing := sorted(wanted - set(table.column_names)):
        raise ModelError(
            f"{declaration.name}: the training set '{declaration.training_set}' has no column {', '.join(missing)}",
            f"declare it in features/{declaration.training_set}.yaml, or correct {declaration.file}",
        )
    for part in declaration.inputs:
        _require_kind(declaration, part, table.schema.field(part.own_column))
        if part.default is not None:
            _require_kind(declaration, part, table.schema.field(part.default.column))


def _require_kind(declaration: Declaration, part: Input, column: pa.Field[Any]) -> None:
    counted = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if pa.types.is_nested(column.type) or not (
        part.kind == "category" or counted or any(is_(column.type) for is_ in _COUNTED)
    ):
        kind = "category" if part.kind == "category" else "number"
        raise ModelError(
            f"{declaration.name}: {column.name}, a column of type {column.type}, cannot be a {kind}",
            "make it one in the gold view" + ("" if pa.types.is_nested(column.type) else ", or kind: category"),
        )


def split(rows: Rows, declaration: Declaration) -> Parts:
    """Split by time; rows of one moment stay together. ModelError where a part has too few of an outcome.

    Rows whose outcome was not yet known when the holdout begins are in no part: nobody could have learnt from them.
    """
    shares = declaration.split
    last = _cut(rows, len(rows), 1 - shares.holdout)
    holdout, before = rows.part(last, len(rows)), _known_before(rows.part(0, last), declaration, rows.moment[last:])
    first = _cut(before, len(before), 1 - shares.calibration / (1 - shares.holdout))
    parts = Parts(before.part(0, first), before.part(first, len(before)), holdout)
    for name, part in vars(parts).items():
        happened = int(part.label.sum())
        if min(happened, len(part) - happened) < _FEWEST:
            raise ModelError(
                f"{declaration.name}: of the {len(part):,} {name} rows {happened:,} have {declaration.label}, "
                f"and at least {_FEWEST} must have it, and not have it",
                "wait for more outcomes, or change split or window in the model's file",
            )
    return parts


def span_before(rows: Rows, until: int) -> Rows:
    """Rows up to a moment, inclusive: µs since 1970."""
    return rows.part(0, int(np.searchsorted(rows.moment, until, side="right")))


def as_served(rows: Rows, declaration: Declaration, sent: Array | bool = True) -> dict[str, Array]:
    """The model's inputs, [N] each: float32 with NaN, or texts with "".

    `sent` says for each row whether optional request fields came with the request; those that did not are taken from
    their default's view. A view whose entity is another view's feature is unknown where that feature is.
    """
    came = np.broadcast_to(np.asarray(sent, dtype=bool), (len(rows),))
    known = {view: _known(rows, declaration, view) for view in declaration.views}
    return {
        part.name: _column(rows, part, came, known, part.source.name in declaration.optional)
        for part in declaration.inputs
    }


def some_unsent(rows: Rows, declaration: Declaration) -> Array:
    """For each row whether optional fields count as sent, drawn once by the model's seed."""
    drawn = np.random.default_rng([declaration.seed, 1]).random(len(rows))
    answer: Array = drawn >= declaration.unsent
    return answer


def take(columns: Columns, rows: Array | slice) -> dict[str, Array]:
    """The same columns, of these rows only."""
    return {name: column[rows] for name, column in columns.items()}


def _rows(table: pa.Table, declaration: Declaration) -> Rows:
    label = table.column(declaration.label).cast(pa.bool_()).to_numpy(zero_copy_only=False).astype(bool)
    return Rows(table, label, _moments(table.column(declaration.moment)))


def _cut(rows: Rows, count: int, share: float) -> int:
    place = min(round(count * share), count - 1)
    return int(np.searchsorted(rows.moment, rows.moment[place])) if count else 0


def _known_before(rows: Rows, declaration: Declaration, later: Array) -> Rows:
    if not declaration.known or not len(later):
        return rows
    known = _moments(rows.table.column(declaration.known)) < later[0]
    return Rows(rows.table.filter(pa.array(known)), rows.label[known], rows.moment[known])


def _moments(column: pa.ChunkedArray) -> Array:
    """Microseconds since 1970, UTC; the end of time where missing."""
    whole = pc.fill_null(column.cast(pa.timestamp("us")).cast(pa.int64()), np.iinfo(np.int64).max)
    return np.asarray(whole.to_numpy())


def _known(rows: Rows, declaration: Declaration, view: str) -> Array:
    answer = np.ones(len(rows), dtype=bool)
    for part in declaration.views[view]:
        if part.view is not None:
            answer &= pc.is_valid(rows.table.column(part.column)).to_numpy(zero_copy_only=False)
    return answer


def _column(rows: Rows, part: Input, came: Array, known: Mapping[str, Array], optional: bool) -> Array:
    read = _texts if part.kind == "category" else _numbers
    missing = "" if part.kind == "category" else np.float32(np.nan)
    own = read(rows.table.column(part.own_column))
    if part.source.view is not None:
        return np.where(known[part.source.view], own, missing).astype(own.dtype)
    if optional:
        own = np.where(came, own, missing).astype(own.dtype)
    if part.default is None:
        return own
    other = np.where(known[str(part.default.view)], read(rows.table.column(part.default.column)), missing)
    absent = own == "" if part.kind == "category" else np.isnan(own)
    return np.where(absent, other, own).astype(own.dtype)


def _texts(column: pa.ChunkedArray) -> Array:
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())  # as the online store answers them
    filled = pc.fill_null(column.cast(pa.string()), "")
    return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=object)


def _numbers(column: pa.ChunkedArray) -> Array:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and taken for missing
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float32)
