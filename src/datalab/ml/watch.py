"""Watching a live model: its inputs and its score in the newest rows beside its training window; retrain or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datalab.errors import ModelError
from datalab.ml.declaration import Declaration
from datalab.ml.drift import SCORE, Comparison, as_json, compare
from datalab.ml.evaluation import Evaluation, evaluate
from datalab.ml.graph import Array, Columns
from datalab.ml.package import Package
from datalab.ml.rows import Rows, as_served, select, span_before
from datalab.ml.scoring import declared, missing_columns, score_rows

_FEWEST = 50


@dataclass(frozen=True)
class Watch:
    """What was found, and whether that is worth a training: `reasons` in words, none: it is not."""

    model: str
    version: int
    comparison: Comparison
    newest: tuple[str, str]
    reasons: tuple[str, ...]

    @property
    def retrain(self) -> bool:
        """Whether the model should be trained again."""
        return bool(self.reasons)

    def as_json(self) -> dict[str, Any]:
        """For programs and for the registry."""
        return {
            "model": self.model,
            "version": self.version,
            "newest": list(self.newest),
            **as_json(self.comparison),
            "retrain": self.retrain,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class Seen:
    """What is compared: the version's own training set, and the newest rows, with or without outcome.

    `units`: for each view of groups the columns of the sets that are its entity.
    """

    reference: pa.Table
    newest: pa.Table
    units: Mapping[str, Sequence[str]]


def watch(declaration: Declaration, package: Package, seen: Seen, now: datetime) -> Watch:
    """Compare the rows that a version learnt from with the newest ones. ModelError where there are too few.

    A feature of groups is compared over the groups, each value of each of them once: a state's average that stands in
    a thousand rows is one observation, and not a thousand.
    """
    rule = declaration.drift
    learnt = span_before(select(seen.reference, declaration), _moment(package.manifest["metrics"]["trained_until"]))
    recent = _recent(_unlabelled(seen.newest, declaration), declaration, learnt)
    if len(recent) < _FEWEST:
        raise ModelError(
            f"{declaration.name}: only {len(recent)} rows of the last {rule.window.days} days are newer than training",
            "widen drift.window in the model's file, or wait for more rows",
        )
    before, after = (_columns(package, rows, seen.units) for rows in (learnt, recent))
    comparison = compare(before, after, rule.alpha, rule.psi)
    reasons = [
        f"{shift.feature} has shifted: PSI {shift.psi:.3f} (by chance at most {shift.critical:.3f}), p {shift.p:.1e}"
        for shift in comparison.drifted
    ]
    created = datetime.fromisoformat(package.manifest["created_at"])
    if rule.every is not None and now - created >= rule.every:
        reasons.append(
            f"version {package.version} is {(now - created).days} days old, the schedule says {rule.every.days}"
        )
    return Watch(declaration.name, package.version, comparison, recent.span, tuple(reasons))


def evaluate_version(declaration: Declaration, package: Package, table: pa.Table) -> Evaluation:
    """Judge a version on the rows of a training set that it has not learnt from, at its own thresholds. ModelError."""
    absent = missing_columns(table, package.manifest)
    if absent:
        raise ModelError(
            f"{declaration.name}: the training set lacks columns of version {package.version}: {', '.join(absent)}",
            "name another: --training-set ID",
        )
    rows = select(table, declaration)
    start = int(np.searchsorted(rows.moment, _moment(package.manifest["metrics"]["trained_until"]), side="right"))
    rows = rows.part(start, len(rows))
    if len(rows) < _FEWEST or not 0 < rows.label.sum() < len(rows):
        raise ModelError(
            f"{declaration.name}: only {len(rows)} rows came after those that version {package.version} learnt from",
            "wait for more outcomes",
        )
    groups = {column: rows.texts(column) for column in declaration.groups}
    thresholds = declared(package.manifest).thresholds
    return evaluate(score_rows(package, rows), rows.label, thresholds, groups, declaration.seed)


def _columns(package: Package, rows: Rows, units: Mapping[str, Sequence[str]]) -> Columns:
    model = declared(package.manifest)
    served = as_served(rows, model)
    views = {part.name: part.source.view for part in model.inputs if part.source.view in units}
    entities = {view: [rows.texts(column) for column in units[view]] for view in set(views.values()) if view}
    return {
        SCORE: score_rows(package, rows),
        **{name: _once(column, entities.get(views.get(name) or "")) for name, column in served.items()},
    }


def _once(column: Array, entity: Sequence[Array] | None) -> Array:
    """Each value of each group once; where it is missing, it is the farmer who is unknown, not the group."""
    if entity is None:
        return column
    known = np.flatnonzero(column != "" if column.dtype == object else np.isfinite(column))
    seen = dict(zip(zip(*(part[known] for part in entity), column[known].astype(str), strict=True), known, strict=True))
    once: Array = column[np.fromiter(seen.values(), dtype=int)]
    return once


def _unlabelled(table: pa.Table, declaration: Declaration) -> pa.Table:
    """The same rows with some label each: drift asks for no outcome."""
    if declaration.label in table.column_names:
        place = table.column_names.index(declaration.label)
        return table.set_column(place, declaration.label, pc.fill_null(table.column(place).cast(pa.bool_()), False))
    return table.append_column(declaration.label, pa.array(np.zeros(table.num_rows, dtype=bool)))


def _recent(table: pa.Table, declaration: Declaration, learnt: Rows) -> Rows:
    rows = select(table, declaration)
    if not len(rows):
        return rows
    since = max(rows.moment[-1] - int(declaration.drift.window.total_seconds() * 1e6), learnt.moment[-1])
    return rows.part(int(np.searchsorted(rows.moment, since, side="right")), len(rows))


def _moment(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1e6)
