"""Rows that broke a constraint behind a flow, tried again under the constraints as they are now."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Append, Query, Staged, Work
from datalab.errors import QuarantineError
from datalab.lake.table import Relation, TableState
from datalab.pipelines.cdc import merge_mode
from datalab.pipelines.execute import Context
from datalab.pipelines.steps import Step
from datalab.quality.replay import Restaged

_ID = "__id"
_SCALARS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str], Any]], ...] = (
    (pa.types.is_timestamp, datetime.fromisoformat),
    (pa.types.is_date, date.fromisoformat),
    (pa.types.is_time, time.fromisoformat),
    (pa.types.is_decimal, Decimal),
    (pa.types.is_binary, bytes.fromhex),
)


def restage_rows(context: Context, step: Step, state: TableState, records: pa.Table) -> Restaged:
    """Stage those of a flow's quarantined `records` that pass its drop and fail constraints now.

    `step` is the flow's plan, whatever its kind. QuarantineError for a materialized view: it has no rows of its own.
    """
    if step.kind in ("replace", "replace_groups"):
        raise QuarantineError(
            f"{step.target} is a materialized view: its rows come from its query alone",
            f"mend the query or the constraint, then: datalab run {step.target} --full-refresh",
        )
    rows = _rows(records, state.schema)
    accepted = _passing(context, step, rows)
    if not accepted:
        return Restaged((), Staged(()))
    wanted = exp.column(_ID).isin(*accepted)
    columns = [exp.column(name, quoted=True) for name in state.schema.names]
    query = _over(context, exp.select(*columns).from_("rows").where(wanted), rows)
    if step.cdc is None:
        return Restaged(accepted, context.engine.stage(Work(query, state.target(), Append())))
    mode = merge_mode(step.cdc, query.tree, state.schema.names)
    return Restaged(accepted, context.engine.stage(Work(query, state.target(), mode, (), context.lake.files(state))))


def _passing(context: Context, step: Step, rows: pa.Table) -> tuple[str, ...]:
    conditions = [
        exp.Is(this=exp.paren(c.condition.copy()), expression=exp.true()) for c in step.checks if c.action != "warn"
    ]
    query = _over(context, exp.select(_ID).from_("rows").where(*conditions), rows)
    return tuple(context.engine.read(query).read_all().column(_ID).to_pylist())


def _over(context: Context, tree: exp.Query, rows: pa.Table) -> Query:
    return Query(tree, {"rows": Relation(rows.schema, memory=rows)}, context.now, "quarantine replay")


def _rows(records: pa.Table, schema: pa.Schema) -> pa.Table:
    schema = schema.remove_metadata().append(pa.field(_ID, pa.string()))
    texts = zip(records.column("id").to_pylist(), records.column("row").to_pylist(), strict=True)
    rows = [{**_typed_row(json.loads(text), schema), _ID: entry} for entry, text in texts]
    return pa.Table.from_pylist(rows, schema=schema)


def _typed_row(row: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    return {field.name: _typed(row.get(field.name), field.type) for field in schema}


def _typed(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _typed(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_typed(entry, kind.value_type) for entry in value]
    if pa.types.is_map(kind):
        return [(_typed(key, kind.key_type), _typed(entry, kind.item_type)) for key, entry in value]
    read = next((read for fits, read in _SCALARS if fits(kind)), None)
    return read(value) if read else value
