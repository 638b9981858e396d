"""What the footer of a Parquet file says of its columns; no data page is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from datalab.errors import SchemaConflict
from datalab.lake.schema import difference
from datalab.lake.table import DataFile

FIELD_ID = b"PARQUET:field_id"
NO_NAN = "datalab.no-nan"  # set in the metadata of a file by a writer whose bounds pass over NaN, where there was none
_LAST_BYTE = 0xFF
_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xE000


@dataclass(frozen=True)
class ColumnStatistics:
    """One leaf column over all row groups. `size` is in bytes, compressed; `values` counts nulls too.

    `repeated`: inside a list or map. `lower` and `upper` are None where they are not known, for repeated values, and
    for floating numbers that may include NaN.
    """

    path: tuple[str, ...]
    field_id: int | None
    repeated: bool
    size: int
    values: int
    nulls: int | None
    lower: Any
    upper: Any


@dataclass(frozen=True)
class Footer:
    """Rows of a file, its schema, where its row groups begin, and its leaf columns in order."""

    rows: int
    schema: pa.Schema
    offsets: tuple[int, ...]
    columns: tuple[ColumnStatistics, ...]


def read_footer(source: str | IO[bytes]) -> Footer:
    """Read the footer of a file, given as a local path or an open file."""
    return footer_of(pq.read_metadata(source))


def footer_of(metadata: Any) -> Footer:
    """What a pyarrow FileMetaData says."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    schema = metadata.schema.to_arrow_schema()
    leaves = [leaf for field in schema for leaf in _leaves(field, ())]
    exact = _is_duckdb(metadata) or _is_without_nan(metadata)
    columns = tuple(
        _combined(leaf, [group.column(index) for group in groups], exact) for index, leaf in enumerate(leaves)
    )
    return Footer(metadata.num_rows, schema, tuple(_offset(group.column(0)) for group in groups), columns)


def excludes_nan(metadata: Any) -> bool:
    """Whether a pyarrow FileMetaData shows that no floating number of the file is NaN."""
    if _is_without_nan(metadata):
        return True
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = (group.column(index) for group in groups for index in range(metadata.num_columns))
    floating = (chunk for chunk in chunks if chunk.physical_type in ("FLOAT", "DOUBLE"))
    return all(_is_duckdb(metadata) and _is_bounded(chunk) for chunk in floating)


def described(path: Path, metadata: Any, partition: tuple[Any, ...]) -> DataFile:
    """A file that was just written, by its pyarrow FileMetaData."""
    footer = footer_of(metadata)
    plain = {column.path[0]: column for column in footer.columns if len(column.path) == 1 and not column.repeated}
    bounded = {name: column for name, column in plain.items() if column.lower is not None}
    return DataFile(
        path=str(path),
        rows=footer.rows,
        size=path.stat().st_size,
        partition=partition,
        lower={name: column.lower for name, column in bounded.items()},
        upper={name: column.upper for name, column in bounded.items()},
        nulls={name: column.nulls for name, column in plain.items() if column.nulls is not None},
    )


def require_fit(path: str, footer: Footer, schema: pa.Schema) -> None:
    """Refuse a file whose columns are not the table's: committed, it could make the table unreadable.

    Columns that the file lacks are fine. SchemaConflict.
    """
    surplus = _surplus(schema, footer.schema)
    if surplus:
        raise SchemaConflict(f"the file {path} does not fit the table: {'; '.join(surplus)}", "cast in the query")


@lru_cache(maxsize=16)  # the files of a commit are nearly all of one schema
def _surplus(wanted: pa.Schema, found: pa.Schema) -> tuple[str, ...]:
    return tuple(words for words in difference(wanted, found) if not words.startswith("removed"))


def lower_bound(value: Any, length: int) -> Any:
    """A lower bound whose text or bytes are cut to `length`: a prefix sorts before what it was cut from."""
    return value[:length] if isinstance(value, str | bytes) else value


def upper_bound(value: Any, length: int) -> Any:
    """An upper bound whose text or bytes are cut to `length` and raised; None where they cannot be raised."""
    if not isinstance(value, str | bytes) or len(value) <= length:
        return value
    for end in range(length, 0, -1):
        raised = _successor(value[end - 1 : end])
        if raised is not None:
            return value[: end - 1] + raised
    return None


def _successor(last: Any) -> Any:
    if isinstance(last, bytes):
        return bytes([last[0] + 1]) if last[0] < _LAST_BYTE else None
    following = ord(last) + 1
    # There are no characters between these two: they are halves of others in UTF-16.
    following = _AFTER_SURROGATES if following == _SURROGATES else following
    return chr(following) if following <= sys.maxunicode else None


@dataclass(frozen=True)
class _Leaf:
    path: tuple[str, ...]
    field_id: int | None
    type: pa.DataType
    repeated: bool


def _leaves(field: Any, above: tuple[str, ...], repeated: bool = False) -> Iterator[_Leaf]:
    path, kind = (*above, field.name), field.type
    if kinds.is_struct(kind):
        for child in kind:
            yield from _leaves(child, path, repeated)
    elif kinds.is_map(kind):
        yield from _leaves(kind.key_field, path, True)
        yield from _leaves(kind.item_field, path, True)
    elif kinds.is_list(kind) or kinds.is_large_list(kind):
        yield from _leaves(kind.value_field, path, True)
    else:
        identifier = (field.metadata or {}).get(FIELD_ID)
        yield _Leaf(path, None if identifier is None else int(identifier), kind, repeated)


def _combined(leaf: _Leaf, chunks: list[Any], exact: bool) -> ColumnStatistics:
    statistics = [chunk.statistics if chunk.is_stats_set else None for chunk in chunks]
    nulls = [one.null_count for one in statistics if one is not None and one.has_null_count]
    unknown = leaf.repeated or not (exact or not kinds.is_floating(leaf.type))
    lower, upper = (None, None) if unknown else _bounds(chunks, statistics)
    return ColumnStatistics(
        path=leaf.path,
        field_id=leaf.field_id,
        repeated=leaf.repeated,
        size=sum(chunk.total_compressed_size for chunk in chunks),
        values=sum(chunk.num_values for chunk in chunks),
        nulls=sum(nulls) if len(nulls) == len(chunks) else None,
        lower=lower,
        upper=upper,
    )


def _bounds(chunks: list[Any], statistics: list[Any]) -> tuple[Any, Any]:
    lower, upper = [], []
    for chunk, one in zip(chunks, statistics, strict=True):
        if one is not None and one.has_min_max:
            lower.append(one.min)
            upper.append(one.max)
        elif one is None or one.null_count != chunk.num_values:
            return None, None
    return (min(lower), max(upper)) if lower else (None, None)


def _is_duckdb(metadata: Any) -> bool:
    """It leaves bounds out where a NaN is among the values; others pass over it."""
    return str(metadata.created_by).startswith("DuckDB")


def _is_without_nan(metadata: Any) -> bool:
    return NO_NAN.encode() in (metadata.metadata or {})


def _is_bounded(chunk: Any) -> bool:
    statistics = chunk.statistics if chunk.is_stats_set else None
    return statistics is not None and (statistics.has_min_max or statistics.null_count == chunk.num_values)


def _offset(chunk: Any) -> int:
    dictionary, data = chunk.dictionary_page_offset, chunk.data_page_offset
    return int(data if dictionary is None else min(dictionary, data))
