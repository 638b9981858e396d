"""How the table of a declaration is to be kept: its columns, partitions and properties, and the order of its rows."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import exp

from datalab.lake.layout import UPSERT_FILE_ROWS, layout_properties
from datalab.lake.table import TableSpec
from datalab.pipelines.cdc import SEQUENCE
from datalab.pipelines.model import Dataset
from datalab.pipelines.steps import Step


def table_spec(dataset: Dataset, step: Step, schema: pa.Schema) -> TableSpec:
    """What the step's table is declared to be. Upserts want small files, so that writing one again costs little."""
    if step.kind == "upsert":
        cluster = dataset.cluster or (() if dataset.partition else default_cluster(step, schema))
        properties = layout_properties(cluster, UPSERT_FILE_ROWS)
    else:
        properties = layout_properties(dataset.cluster)
    return TableSpec(schema, dataset.partition, dataset.comment, {**properties, **dataset.properties})


def default_cluster(step: Step, schema: pa.Schema) -> tuple[str, ...]:
    """The key column along which new rows come: the sequence itself, else the first time, else the first number."""
    if step.cdc is not None and step.cdc.scd_type == 2:
        return step.keys[:1]  # all versions of a key are looked at together
    names = {name.lower(): name for name in schema.names}
    keys = [names[key.lower()] for key in step.keys]
    sequence = _sequence(step.query)
    named = [key for key in keys if sequence is not None and key.lower() == sequence]
    timed = [key for key in keys if _is_time(schema.field(key).type)]
    counted = [key for key in keys if pa.types.is_integer(schema.field(key).type)]
    return tuple([*named, *timed, *counted][:1])


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _sequence(query: exp.Query | None) -> str | None:
    """The column that SEQUENCE BY names, where it is a column."""
    aliases = query.find_all(exp.Alias) if query is not None else ()
    named = (alias.this for alias in aliases if alias.alias == SEQUENCE)
    return next((column.name.lower() for column in named if isinstance(column, exp.Column)), None)
