"""PyIceberg's own scan, for rows that others have marked as gone in ways that files read natively cannot follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import pyarrow as projection
from pyiceberg.table import Table
from pyiceberg.types import ListType, MapType

from datalab.lake.schema import normalise

_Plain = projection.ArrowProjectionVisitor


class _KeepsNulls(_Plain):
    """PyIceberg 0.12 builds lists and maps of structs anew from offsets and values: NULL would be an empty one."""

    def list(self, list_type: ListType, list_array: Any, value_array: Any) -> Any:
        """The list in the wanted type."""
        return _as_null_as(list_array, super().list(list_type, list_array, value_array))

    def map(self, map_type: MapType, map_array: Any, key_result: Any, value_result: Any) -> Any:
        """The map in the wanted type."""
        return _as_null_as(map_array, super().map(map_type, map_array, key_result, value_result))


def _as_null_as(was: Any, made: Any) -> Any:
    if made is None or was is None or made.null_count == was.null_count:
        return made
    return pc.if_else(was.is_valid(), made, pa.scalar(None, made.type))


def scan(table: Table, snapshot: int, schema: pa.Schema) -> Callable[[], pa.RecordBatchReader]:
    """Asked for when it is read: the rows of a snapshot in the types of the lake."""
    projection.ArrowProjectionVisitor = _KeepsNulls  # type: ignore[misc]
    plain = normalise(schema)
    return lambda: table.scan(snapshot_id=snapshot).to_arrow_batch_reader().cast(plain)
