"""Few rows leave a file: Arrow copies the others, and values that stand in a dictionary stay as they are encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from datalab.engine.faults import translated
from datalab.engine.marking import MOST_GONE
from datalab.engine.relations import FILE, ROW, field_id
from datalab.engine.session import Session
from datalab.engine.writing import ACCEPTED, LEFT, Folder, Written
from datalab.errors import EngineError
from datalab.lake.formats.parquet import NO_NAN, described, excludes_nan
from datalab.lake.table import DataFile, WriteTarget

_SMALL = 20_000  # a smaller file is written together with the rows that come
_LEAVING = 100_000  # so many rows that leave may be held in memory
_GROUP_BYTES = 64 << 20
_THREADS = 4
_BATCH_ROWS = 1 << 15  # the writer takes so many at a time: a tenth less work than a thousand


@dataclass(frozen=True)
class Copy:
    """A file of which most rows are copied, and what its footer says of how: the paths of columns by their encoding."""

    file: DataFile
    footer: Any = field(repr=False)
    texts: tuple[str, ...]
    dictionaries: tuple[str, ...]
    statistics: tuple[str, ...]


def copyable(target: WriteTarget, files: Iterable[DataFile], leaving: Mapping[str, int]) -> tuple[Copy, ...]:
    """The files that so few rows leave, by path, that the others are copied; these have the columns of the target."""
    chosen = [file for file in files if _is_whole(file) and _SMALL <= file.rows >= leaving[file.path] / MOST_GONE]
    if sum(leaving[file.path] for file in chosen) > _LEAVING:
        return ()
    wanted = [_shape(each.name, each) for each in target.schema]
    return tuple(copy for file in chosen if (copy := _planned(file, wanted)) is not None)


def copied(
    session: Session, folder: Folder, target: WriteTarget, copies: tuple[Copy, ...], places: str, *, record: bool
) -> tuple[Written, ...]:
    """Files with the rows that are not among `places`, a table of files and row numbers; one file for each.

    `record`: the rows that leave are in files more, of the bucket `LEFT`.
    """
    place = f"SELECT {FILE} AS path, {ROW} AS row FROM {places}"
    rows = session.arrow(f"SELECT path, list(row) AS rows FROM ({place}) GROUP BY path")
    gone = dict(zip(rows.column("path").to_pylist(), rows.column("rows").to_pylist(), strict=True))
    ((threads,),) = session.rows("SELECT current_setting('threads')")

    def one(copy: Copy) -> tuple[DataFile, list[pa.Table]]:
        left: list[pa.Table] = []
        return _copied(folder.path, target, copy, gone[copy.file.path], left if record else None), left

    with translated(session.origin), ThreadPoolExecutor(min(int(threads), _THREADS, len(copies)), "copy") as pool:
        done = list(pool.map(one, copies))
        left = _left(folder.path, target, zip(copies, (parts for _, parts in done), strict=True)) if record else []
    return (*(Written(ACCEPTED, file) for file, _ in done), *(Written(LEFT, file) for file in left))


def _copied(folder: Path, target: WriteTarget, copy: Copy, gone: list[int], left: list[pa.Table] | None) -> DataFile:
    place, coded = copy.file.path, (*copy.texts, *copy.dictionaries)
    try:
        with pq.ParquetFile(
            place, metadata=copy.footer, memory_map=True, read_dictionary=list(copy.texts), pre_buffer=False
        ) as source:
            rows = _kept(source, gone, left)
            path, footer = _written(folder, target.compression, source.schema_arrow, coded, copy.statistics, rows)
    except pa.ArrowException as error:
        raise EngineError(f"{place}: {error}") from error
    return described(path, footer, copy.file.partition)


def _left(folder: Path, target: WriteTarget, parts: Iterable[tuple[Copy, list[pa.Table]]]) -> Iterator[DataFile]:
    """The rows that leave, a file for all that have the same columns in dictionaries: DuckDB cannot take these over."""
    alike: dict[tuple[str, ...], list[pa.Table]] = {}
    for copy, tables in parts:
        alike.setdefault(copy.texts, []).extend(tables)
    flat = tuple(each.name for each in target.schema if not each.type.num_fields)
    for tables in alike.values():
        rows = pa.concat_tables(tables)
        yield described(*_written(folder, target.compression, rows.schema, (), flat, [rows]), ())


def _kept(source: pq.ParquetFile, gone: list[int], left: list[pa.Table] | None) -> Iterator[pa.Table]:
    """The rows that stay, group by group; the others are added to `left`."""
    for group, stays in _stays(source.metadata, gone):
        rows = source.read_row_group(group, use_threads=False).replace_schema_metadata(None)
        if left is not None:
            left.append(rows.filter(pc.invert(stays)))
        if stays.true_count:
            yield rows.filter(stays)


def _written(
    folder: Path,
    compression: str,
    schema: pa.Schema,
    dictionaries: Sequence[str],
    statistics: Sequence[str],
    groups: Iterable[pa.Table],
) -> tuple[Path, Any]:
    """A new file, a row group for each table, and its footer."""
    path = folder / f"dl-{uuid4()}.parquet"
    footers: list[Any] = []
    with pq.ParquetWriter(
        path,
        schema.remove_metadata(),
        compression=compression,
        use_dictionary=list(dictionaries),
        write_statistics=list(statistics),
        write_batch_size=_BATCH_ROWS,
        store_schema=False,
        store_decimal_as_integer=True,
        metadata_collector=footers,
    ) as sink:
        for rows in groups:
            sink.write_table(rows, row_group_size=rows.num_rows)
        sink.add_key_value_metadata({NO_NAN: ""})
    return path, footers[0]


def _stays(footer: Any, gone: list[int]) -> Iterator[tuple[int, pa.BooleanArray]]:
    """Each row group, and which of its rows stay."""
    bits = bytearray(b"\xff" * (footer.num_rows // 8 + 1))
    for row in gone:
        bits[row >> 3] &= ~(1 << (row & 7))
    every = pa.Array.from_buffers(pa.bool_(), footer.num_rows, [None, pa.py_buffer(bits)])
    first = 0
    for group in range(footer.num_row_groups):
        count = footer.row_group(group).num_rows
        stays = every.slice(first, count)
        first += count
        yield group, stays


def _is_whole(file: DataFile) -> bool:
    return not file.gone and not file.only and not file.older


def _planned(file: DataFile, wanted: list[Any]) -> Copy | None:
    """How a file is copied; None where it is better left to the engine: it has other columns, or maybe a NaN."""
    with translated(file.path):
        footer = pq.read_metadata(file.path)
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    if footer.num_rows != file.rows or any(_memory(group) > _GROUP_BYTES for group in groups):
        return None
    if [_shape(each.name, each) for each in footer.schema.to_arrow_schema()] != wanted or not excludes_nan(footer):
        return None
    chunks = [[group.column(index) for group in groups] for index in range(footer.num_columns)]
    coded = [column for column in chunks if all(chunk.has_dictionary_page for chunk in column)]
    texts = tuple(column[0].path_in_schema for column in coded if column[0].physical_type == "BYTE_ARRAY")
    others = tuple(column[0].path_in_schema for column in coded if column[0].physical_type != "BYTE_ARRAY")
    once = (column for at, column in enumerate(chunks) if not footer.schema.column(at).max_repetition_level)
    known = tuple(column[0].path_in_schema for column in once if all(chunk.is_stats_set for chunk in column))
    return Copy(file, footer, texts, others, known)


def _memory(group: Any) -> int:
    return int(group.total_byte_size + 4 * group.num_rows * group.num_columns)


def _shape(name: str, given: pa.Field[Any]) -> tuple[Any, ...]:
    """A column by name, field id and type; lists and maps of different writers name their inner fields differently."""
    kind: Any = given.type
    if kinds.is_struct(kind):
        kind = tuple(_shape(child.name, child) for child in kind)
    elif kinds.is_map(kind):
        kind = (_shape("key", kind.key_field), _shape("value", kind.item_field))
    elif kinds.is_list(kind):
        kind = (_shape("element", kind.value_field),)
    return name, field_id(given), kind
