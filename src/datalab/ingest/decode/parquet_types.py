"""What a Parquet column holds, whatever its writer called it: stored Arrow types and annotations seen through."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

_types = pa.types
_AS: dict[pa.DataType, pa.DataType] = {
    pa.string_view(): pa.string(),
    pa.binary_view(): pa.binary(),
    pa.float16(): pa.float32(),
}


def plain_schema(file: pq.ParquetFile) -> pa.Schema:
    """The file's columns as plain types: of dictionaries, views, extensions and fixed sizes what they hold.

    Text that is annotated as ENUM, as writers of Avro schemas do, is text; Arrow itself would call it bytes.
    """
    leaves = (str(file.schema.column(at).logical_type.type) == "ENUM" for at in range(len(file.schema)))
    return pa.schema([pa.field(each.name, _plain(each.type, leaves)) for each in file.schema_arrow])


def as_plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as read -> the type that `plain_schema` gave it. ArrowInvalid where an annotated text is not UTF-8."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array if array.type == kind else array.cast(kind)


def _plain(kind: pa.DataType, leaves: Iterator[bool]) -> pa.DataType:
    """`leaves` tells of each Parquet column, in order, whether it is an ENUM: each plain type takes one."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type, leaves)
    if _types.is_struct(kind):
        return pa.struct([(each.name, _plain(each.type, leaves)) for each in kind])
    if _types.is_map(kind):
        return pa.map_(_plain(kind.key_type, leaves), _plain(kind.item_type, leaves))
    if _types.is_list(kind) or _types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type, leaves))
    if _types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_type, leaves))
    if _types.is_dictionary(kind):
        kind = kind.value_type
    annotated = next(leaves)
    if annotated and _types.is_binary(kind):
        return pa.string()
    return pa.large_binary() if _types.is_fixed_size_binary(kind) else _AS.get(kind, kind)
