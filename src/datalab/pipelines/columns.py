"""What a step means for the columns of its table: new ones are added; none goes or changes its type unasked."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from datalab.lake.schema import conflicts, difference
from datalab.pipelines.steps import Step


def with_columns(step: Step, present: pa.Schema | None, wanted: pa.Schema | None) -> Step:
    """The step with what it does to the columns in its reason; refused where columns would go or change their type.

    `present` are the table's columns, None before there is one; `wanted` those of its query.
    """
    if step.kind == "skip" or present is None or wanted is None:
        return step
    before, after = _visible(present), _visible(wanted)
    lost = conflicts(before, after)
    if lost and not step.rebuild:
        reason = f"{step.reason}; refused: {'; '.join(lost)}: only --full-refresh rebuilds the table so"
        return replace(step, conflict=lost, reason=reason)
    added = [words for words in difference(before, after) if words.startswith("added")]
    if added and not step.fresh:
        added.append("empty in the rows that are there until --full-refresh")
    words = "; ".join([*lost, *added])
    return replace(step, reason=f"{step.reason}; {words}") if words else step


def _visible(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if not field.name.startswith("__")])
