"""Decoded records to Parquet data files by Arrow, which has them in memory already; split, sized and described."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from datalab.errors import EngineError, StorageFull
from datalab.ingest.splitting import Key, split
from datalab.lake.formats.parquet import NO_NAN, described
from datalab.lake.table import DataFile, WriteTarget

_COMPRESSION = "snappy"  # twice as fast to write as zstd for half as many bytes more; compaction can repack
_GROUP_ROWS = 122_880
_FILE_SIZE = 256 << 20
_OPEN_FILES = 64
_SHARED = 4  # few rows of a small partition may hold on to the memory of many that are written already
_SAMPLE = 20_000
_RISING, _MOSTLY = 100, 0.95
_AT_ONCE = 4_096  # values of a column between two looks at the size of its page


@dataclass
class _Pile:
    """Rows of one partition that wait to be a row group, and the file that they will be in."""

    held: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    path: Path | None = None
    file: Any = None
    sink: Any = None
    footer: list[Any] = field(default_factory=list)
    schema: pa.Schema | None = None
    plain: set[str] = field(default_factory=set)  # columns that hold no dictionary any more
    nan: bool = False


@dataclass
class Habits:
    """What the first rows of a table showed, for all that are written after them.

    Paths worth a dictionary, and those of numbers that rise from row to row, of which the steps alone are written.
    """

    dictionary: list[str] | None = None
    steps: list[str] = field(default_factory=list)


class RecordWriter:
    """Takes records bit by bit and writes them to a target; holds at most about `memory` bytes of them.

    Writers of the same table may share their `habits`.
    """

    def __init__(self, target: WriteTarget, memory: int, habits: Habits | None = None) -> None:
        self._target = target
        self._memory = memory
        self._bytes = self._taken = 0
        self._piles: dict[Key, _Pile] = {}
        self._habits = habits or Habits()
        self._files: list[DataFile] = []

    def add(self, records: pa.Table) -> None:
        """Take records; columns that the target lacks are an error, columns that they lack are NULL."""
        for key, rows in split(fitted(records, self._target.schema), self._target.partition):
            pile = self._piles.setdefault(key, _Pile())
            size = rows.nbytes
            pile.held.append(rows)
            pile.rows, pile.bytes = pile.rows + rows.num_rows, pile.bytes + size
            self._bytes, self._taken = self._bytes + size, self._taken + size
            if pile.rows >= _GROUP_ROWS:
                self._write(key, pile)
        if self._bytes > self._memory or self._taken > _SHARED * self._memory:
            self._finish()

    def finish(self) -> tuple[DataFile, ...]:
        """Write what is still held; answers all data files."""
        self._finish()
        return tuple(self._files)

    def _finish(self) -> None:
        for key, pile in self._piles.items():
            self._write(key, pile)
            self._close(key, pile)
        self._piles, self._taken = {}, 0

    def _write(self, key: Key, pile: _Pile) -> None:
        if not pile.held:
            return
        rows = self._joined(pile)
        self._bytes -= pile.bytes
        pile.held, pile.rows, pile.bytes = [], 0, 0
        nan = _has_nan(rows)
        if (nan and not pile.nan) or rows.schema != pile.schema:
            self._close(key, pile)
        pile.nan = pile.nan or nan
        with self._translated():
            if pile.file is None:
                self._open(pile, rows)
            pile.file.write_table(rows, row_group_size=_GROUP_ROWS * 2)
            crowded = sum(each.file is not None for each in self._piles.values()) > _OPEN_FILES
            if crowded or pile.sink.tell() >= _FILE_SIZE:
                self._close(key, pile)

    def _joined(self, pile: _Pile) -> pa.Table:
        """What is held as one; a column that came in several forms, or in its own, comes in its own from then on."""
        held = pile.held
        types = [rows.schema.types for rows in held]
        for at, each in enumerate(self._target.schema):
            forms = {those[at] for those in types}
            if len(forms) > 1 or each.type in forms:
                pile.plain.add(each.name)
            if each.name in pile.plain:
                held = [_plain(rows, at, each) for rows in held]
        return pa.concat_tables(held).unify_dictionaries()

    def _open(self, pile: _Pile, rows: pa.Table) -> None:
        pile.schema = rows.schema
        if self._habits.dictionary is None:
            sample: Mapping[str, pa.Array] = dict(_columns(pa.table(rows.slice(0, _SAMPLE)).combine_chunks()))
            self._habits.steps = [path for path, array in sample.items() if _rises(array)]
            self._habits.dictionary = _repetitive(sample, self._habits.steps)
        folder = Path(self._target.location.removeprefix("file://"))
        folder.mkdir(parents=True, exist_ok=True)
        pile.path = folder / f"dl-{uuid4()}.parquet"
        pile.sink = pa.OSFile(str(pile.path), "wb")
        pile.file = pq.ParquetWriter(
            pile.sink,
            rows.schema,
            compression=_COMPRESSION,
            use_dictionary=self._habits.dictionary,
            column_encoding=dict.fromkeys(self._habits.steps, "DELTA_BINARY_PACKED"),
            write_statistics=[each.name for each in rows.schema if _is_bounded(each.type, nan=pile.nan)],
            store_schema=False,
            store_decimal_as_integer=True,
            write_batch_size=_AT_ONCE,
            metadata_collector=pile.footer,
        )

    def _close(self, key: Key, pile: _Pile) -> None:
        if pile.file is None:
            return
        assert pile.path is not None
        with self._translated():
            if not pile.nan:
                pile.file.add_key_value_metadata({NO_NAN: ""})
            pile.file.close()
            pile.sink.close()
            self._files.append(described(pile.path, pile.footer.pop(), key))
        pile.file = pile.sink = pile.path = None
        pile.nan = False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "no space left" in str(error).lower()
            if full:
                hint = "free space on the disk, then run again: nothing was committed"
                raise StorageFull(f"{self._target.name}: no space left: {error}", hint) from error
            raise EngineError(f"{self._target.name}: {error}") from error


def fitted(records: pa.Table, schema: pa.Schema) -> pa.Table:
    """The records with the columns of `schema` in its types, field ids included; dictionaries stay encoded."""
    given = dict(zip(records.column_names, records.columns, strict=True))
    surplus = given.keys() - set(schema.names)
    if surplus:
        raise EngineError(f"the table lacks columns: {', '.join(sorted(surplus))}")
    columns, fields = [], []
    for each in schema:
        column = given.get(each.name)
        if column is None:
            column = pa.chunked_array([pa.nulls(records.num_rows, each.type)])
        kind = _in_form(column.type, each.type)
        columns.append(column if column.type == kind else column.cast(kind))
        fields.append(each.with_type(kind))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _plain(rows: pa.Table, at: int, wanted: pa.Field) -> pa.Table:
    column = rows.column(at)
    return rows if column.type == wanted.type else rows.set_column(at, wanted, column.cast(wanted.type))


def _in_form(given: pa.DataType, wanted: pa.DataType) -> pa.DataType:
    """The wanted type, but for the dictionaries that are given."""
    if kinds.is_dictionary(given):
        return given
    if kinds.is_struct(given) and kinds.is_struct(wanted) and given.names == wanted.names:
        return pa.struct(
            [each.with_type(_in_form(part.type, each.type)) for part, each in zip(given, wanted, strict=True)]
        )
    return wanted


def _leaves(array: pa.Array, path: str) -> Iterator[tuple[str, pa.Array]]:
    if kinds.is_struct(array.type):
        for each, child in zip(array.type, array.flatten(), strict=True):
            yield from _leaves(child, f"{path}.{each.name}")
    elif kinds.is_map(array.type):
        yield from _leaves(array.keys, f"{path}.key_value.key")
        yield from _leaves(array.items, f"{path}.key_value.value")
    elif kinds.is_list(array.type) or kinds.is_large_list(array.type):
        yield from _leaves(array.flatten(), f"{path}.list.element")
    else:
        yield path, array


def _columns(rows: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        for chunk in column.chunks:
            yield from _leaves(chunk, name)


def _repetitive(sample: Mapping[str, pa.Array], rising: Sequence[str]) -> list[str]:
    """Paths of the columns whose values recur often enough for a dictionary to save more than it costs."""
    return [path for path, array in sample.items() if path not in rising and _recurs(array)]


def _rises(array: pa.Array) -> bool:
    """Whether whole numbers without gaps grow nearly always, as offsets and numbers of rows do."""
    if not (kinds.is_int64(array.type) or kinds.is_timestamp(array.type)) or array.null_count or len(array) < _RISING:
        return False
    return bool((np.diff(array.view(pa.int64()).to_numpy()) > 0).mean() >= _MOSTLY)


def _recurs(array: pa.Array) -> bool:
    if kinds.is_dictionary(array.type) or kinds.is_boolean(array.type):
        return True
    with suppress(pa.ArrowNotImplementedError):
        return bool(pc.count_distinct(array, mode="all").as_py() * 2 <= len(array) or len(array) < 1_000)
    return True


def _is_bounded(kind: pa.DataType, *, nan: bool) -> bool:
    """Whether a file has statistics of a column: Arrow's pass over NaN, and readers would pass over its rows."""
    return not kind.num_fields and not (nan and kinds.is_floating(kind))


def _has_nan(rows: pa.Table) -> bool:
    floating = rows.select([each.name for each in rows.schema if _may_float(each.type)])
    return any(kinds.is_floating(array.type) and _holds_nan(array) for _, array in _columns(floating))


def _holds_nan(array: pa.Array) -> bool:
    if array.null_count or kinds.is_float16(array.type):
        return bool(pc.any(pc.is_nan(array)).as_py())
    return bool(np.isnan(array.to_numpy().min(initial=0)))  # NumPy's least of numbers is NaN where one of them is


def _may_float(kind: pa.DataType) -> bool:
    """Whether values of a type are, or hold, floating numbers."""
    return kinds.is_floating(kind) or any(_may_float(kind.field(at).type) for at in range(kind.num_fields))
