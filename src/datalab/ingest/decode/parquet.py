"""Parquet files: row groups by Arrow's reader, types checked against the contract before a value is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datalab.ingest.avro_schema import MISSING, AvroType
from datalab.ingest.contracts import Contract
from datalab.ingest.decode.parquet_int96 import Int96, exact
from datalab.ingest.decode.parquet_types import as_plain, plain_schema
from datalab.ingest.decode.parts import Described, Part, refused, settle
from datalab.ingest.decode.scarcity import require_memory
from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import WHOLE, Reason
from datalab.ingest.resolution import feeds

_BATCH = 1 << 16
_BAD = (pa.ArrowException, OSError, ValueError, UnicodeDecodeError)
_types = pa.types

_FITS: dict[str, Callable[[pa.DataType], bool]] = {
    "boolean": _types.is_boolean,
    "int": _types.is_integer,
    "long": _types.is_integer,
    "float": lambda kind: kind == pa.float32(),
    "double": _types.is_floating,
    "string": lambda kind: _types.is_string(kind) or _types.is_large_string(kind),
    "enum": lambda kind: _types.is_string(kind) or _types.is_large_string(kind),
    "bytes": lambda kind: _types.is_binary(kind) or _types.is_large_binary(kind),
    "fixed": lambda kind: _types.is_binary(kind) or _types.is_large_binary(kind),
    "date": _types.is_date,
    "decimal": _types.is_decimal,
    "timestamp-millis": _types.is_timestamp,
    "timestamp-micros": _types.is_timestamp,
}


def decode_parquet(data: memoryview, contract: Contract, _limits: Limits, span: Span | None = None) -> Iterator[Part]:
    """The file's parts; a span counts row groups. A row group that cannot be read is refused as a whole."""
    try:
        file = _open(data)
        schema = plain_schema(file)
        int96 = Int96.of(file, lambda: _open(data, "ms"))
        wrong = _differences(schema, contract.record)
    except _BAD as error:
        require_memory(error)
        yield refused(WHOLE, Reason.CORRUPT_FILE, f"not a readable Parquet file: {_words(error)}", data)
        return
    if wrong:
        yield refused(WHOLE, Reason.SCHEMA_MISMATCH, "; ".join(wrong), data)
        return
    row = 0
    for group in range(file.num_row_groups):
        rows = _believable(file.metadata.row_group(group).num_rows, len(data))
        if span is None or span.start <= group < span.stop:
            yield from _group(file, (schema, int96), group, (row, rows), contract.record)
        row += rows


def count_groups(data: memoryview, _limits: Limits) -> int:
    """How many row groups the file has; 0 where it cannot be read."""
    try:
        return int(_open(data).num_row_groups)
    except _BAD as error:
        require_memory(error)
        return 0


def describe_group(data: memoryview, _limits: Limits, unit: int) -> Described:
    """A row group's first record number and its rows; its bytes are not set apart in the file."""
    metadata = _open(data).metadata
    rows = [_believable(metadata.row_group(group).num_rows, len(data)) for group in range(unit + 1)]
    return sum(rows[:-1]), rows[-1], b""


def _open(data: memoryview, int96: str | None = None) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.BufferReader(pa.py_buffer(data)), page_checksum_verification=True, coerce_int96_timestamp_unit=int96
    )


def _believable(declared: int, size: int) -> int:
    """Repeated values take next to no bytes, but not none: a hostile count is bounded by the file's size."""
    return declared if 0 <= declared <= size * 4_096 else 1


def _group(
    file: pq.ParquetFile, columns: tuple[pa.Schema, Int96], group: int, span: tuple[int, int], record: AvroType
) -> Iterator[Part]:
    """Batches are held back until the whole group has been read: half a group would leave its number unknown."""
    (row, rows), (schema, int96) = span, columns
    try:
        batches, read = [], 0
        coarse = int96.of_group(group)
        for batch in file.iter_batches(_BATCH, row_groups=[group], use_threads=False):
            batch.validate(full=True)
            made = [as_plain(column, each.type) for column, each in zip(batch.columns, schema, strict=True)]
            for at, each in enumerate(schema):
                if each.name in coarse:
                    made[at] = exact(made[at], coarse[each.name].slice(read, len(batch)).combine_chunks())
            read += len(batch)
            batches.append(pa.StructArray.from_arrays(made, names=schema.names))
        if sum(map(len, batches)) != rows:
            raise ValueError("its pages hold another number of rows than its footer says")
    except _BAD as error:
        require_memory(error)
        yield refused(row, Reason.CORRUPT_FILE, f"row group {group}: {_words(error)}", b"", max(rows, 1))
        return
    for wire in batches:
        numbers = np.arange(row, row + len(wire), dtype=np.int64)
        yield settle(wire, numbers, lambda bad: [b""] * len(bad), record)
        row += len(wire)


def _words(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _differences(schema: pa.Schema | pa.StructType, record: AvroType, path: str = "") -> tuple[str, ...]:
    by_name = {each.name: each for each in schema}
    prefix = f"{path}." if path else ""
    fed = feeds(record, by_name)
    sources = {field: name for name, field in fed.items()}
    found = [f"{prefix}{name[:60]}: not in the contract" for name in by_name if name not in fed]
    if len(by_name) != len(schema):
        found.append(f"{prefix}: two columns have the same name")
    for each in record.fields:
        if each.name in sources:
            found.extend(_compared(by_name[sources[each.name]].type, each.type, f"{prefix}{each.name}"))
        elif each.default is MISSING:
            found.append(f"{prefix}{each.name}: missing in the file, and without a default in the contract")
    return tuple(found)


def _compared(found: pa.DataType, kind: AvroType, path: str) -> tuple[str, ...]:
    if _types.is_null(found) and kind.nullable and not kind.fields and not kind.items:
        return ()
    if kind.kind == "record" and _types.is_struct(found):
        return _differences(found, kind, path)
    if kind.kind == "array" and (_types.is_list(found) or _types.is_large_list(found)):
        return _compared(found.value_type, kind.element, f"{path}[]")
    if kind.kind == "map" and _types.is_map(found) and _FITS["string"](found.key_type):
        return _compared(found.item_type, kind.element, f"{path}[]")
    fits = _FITS.get(kind.logical if kind.logical in _FITS else kind.kind)
    return () if fits and fits(found) else (f"{path}: {found} in the file, {kind} in the contract",)
