"""Texts looked for in Parquet files whose values are not decoded: pages are decompressed and searched as bytes.

Where each value of a column is there a few times only, that takes about half of the work of reading the column. What is
not understood, such as another encoding, counts as a file that may hold them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from datalab.engine.relations import field_id
from datalab.lake.local import local_path
from datalab.lake.table import DataFile

_CODECS = {"ZSTD": "zstd", "SNAPPY": "snappy", "GZIP": "gzip", "UNCOMPRESSED": ""}
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _IN_DICTIONARY = 0, (2, 8)
_KIND, _UNPACKED, _PACKED, _DATA_HEADER, _ENCODING = 1, 2, 3, 5, 2  # Thrift's numbers of a page header's fields
_MOST_TEXTS = 16
_SAMPLE = 4
_THREADS = 4
_NOT_UNDERSTOOD = (OSError, ValueError, LookupError, pa.ArrowException)


def files_holding(
    files: Sequence[DataFile], field: pa.Field, schema: pa.Schema, texts: Sequence[str]
) -> tuple[DataFile, ...]:
    """The files that may hold one of some texts in a column of a table; all where most of the first looked at do."""
    if len(texts) > _MOST_TEXTS:
        return tuple(files)
    needles = [len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts]
    by_id = all(field_id(each) is not None for each in schema)
    may_hold = partial(_may_hold, field=field, by_id=by_id, needles=needles)
    held = {file.path: may_hold(file) for file in files[:: max(1, len(files) // _SAMPLE)][:_SAMPLE]}
    if 2 * sum(held.values()) > len(held):
        return tuple(files)
    others = [file for file in files if file.path not in held]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        held |= zip((file.path for file in others), pool.map(may_hold, others), strict=True)
    return tuple(file for file in files if held[file.path])


def _may_hold(file: DataFile, field: pa.Field, needles: Sequence[bytes], *, by_id: bool) -> bool:
    path = local_path(file.path)
    if path is None:
        return True
    try:
        with path.open("rb") as handle:
            metadata = pq.read_metadata(handle)
            column = _column_of(metadata, field, by_id=by_id)
            groups = (metadata.row_group(number).column(column) for number in range(metadata.num_row_groups))
            return any(_is_among(needles, page) for chunk in groups for page in _pages(handle, chunk))
    except _NOT_UNDERSTOOD:
        return True


def _column_of(metadata: pq.FileMetaData, field: pa.Field, *, by_id: bool) -> int:
    """The number of a table's column of texts in a file."""
    held = metadata.schema.to_arrow_schema()
    known = (each for each in held if (field_id(each) == field_id(field) if by_id else each.name == field.name))
    name = next((each.name for each in known if pa.types.is_string(each.type)), None)
    if name is None:
        raise LookupError(field.name)
    return next(number for number in range(metadata.num_columns) if metadata.schema.column(number).path == name)


def _is_among(needles: Sequence[bytes], page: bytes) -> bool:
    return any(page.find(needle) >= 0 for needle in needles)


def _pages(handle: BinaryIO, chunk: pq.ColumnChunkMetaData) -> Iterator[bytes]:
    """The pages of a column of a row group in which its texts are: each behind its length of four bytes."""
    codec = _CODECS[chunk.compression]
    handle.seek(min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset))))
    raw, at, in_dictionary = memoryview(handle.read(chunk.total_compressed_size)), 0, False
    while at < len(raw):
        header, start = _struct(raw, at)
        at = start + header[_PACKED]
        if not start < at <= len(raw):
            raise ValueError("a page that ends outside of its column")
        encoding = header[_DATA_HEADER][_ENCODING] if header[_KIND] == _DATA_PAGE else None
        if encoding in _IN_DICTIONARY and in_dictionary:
            continue
        if header[_KIND] != _DICTIONARY_PAGE and encoding != _PLAIN:
            raise ValueError("a page of another kind")
        in_dictionary = in_dictionary or header[_KIND] == _DICTIONARY_PAGE
        packed = raw[start:at]
        yield pa.Codec(codec).decompress(packed, header[_UNPACKED], asbytes=True) if codec else bytes(packed)


def _struct(raw: memoryview, at: int) -> tuple[dict[int, Any], int]:
    """The fields of a structure in Thrift's compact protocol by their numbers, without texts, and where it ends."""
    found: dict[int, Any] = {}
    number = 0
    while head := raw[at]:
        at, kind = at + 1, head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(raw, at)
        if kind in (1, 2):
            found[number] = kind == 1
        elif kind in (4, 5, 6):
            found[number], at = _integer(raw, at)
        elif kind == 12:
            found[number], at = _struct(raw, at)
        elif kind == 8:
            length, at = _varint(raw, at)
            at += length
        else:
            raise ValueError("a page header of another kind")
    return found, at + 1


def _integer(raw: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(raw, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while raw[at] & 128:
        value |= (raw[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | raw[at] << shift, at + 1
