"""Relations as DuckDB SQL: data files read natively, by field id where the table has field ids, otherwise by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from datalab.errors import NotSupported
from datalab.lake.table import DataFile, Marks
from datalab.lake.whole import require_whole

FIELD_ID = b"PARQUET:field_id"
FILE, ROW = "__file", "__row"
_MANY = 100_000_000

_SCALARS: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.string_view(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.null(): "INTEGER",
}


def quoted(name: str) -> str:
    """An identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def columns(names: Iterable[str], table: str = "") -> str:
    """A list of quoted columns for a SELECT."""
    prefix = f"{table}." if table else ""
    return ", ".join(prefix + quoted(name) for name in names)


def duckdb_type(kind: pa.DataType) -> str:
    """The DuckDB type that holds an Arrow type, spelt as DESCRIBE does. NotSupported for types no table has."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    for matches, spelt in _PARAMETRIC:
        if matches(kind):
            return spelt(kind)
    raise NotSupported("the DuckDB engine", f"the type {kind}")


def _struct(kind: Any) -> str:
    return f"STRUCT({', '.join(f'{quoted(field.name)} {duckdb_type(field.type)}' for field in kind)})"


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


_PARAMETRIC: tuple[tuple[Callable[[Any], bool], Callable[[Any], str]], ...] = (
    (pa.types.is_timestamp, lambda _: "TIMESTAMP WITH TIME ZONE"),
    (pa.types.is_decimal, lambda kind: f"DECIMAL({kind.precision},{kind.scale})"),
    (pa.types.is_struct, _struct),
    (pa.types.is_map, lambda kind: f"MAP({duckdb_type(kind.key_type)}, {duckdb_type(kind.item_type)})"),
    (_is_list, lambda kind: f"{duckdb_type(kind.value_type)}[]"),
    (pa.types.is_dictionary, lambda kind: duckdb_type(kind.value_type)),
    (pa.types.is_fixed_size_binary, lambda _: "BLOB"),
)


def casts(schema: pa.Schema, source: str) -> str:
    """Every column of `schema` by name out of `source`, in its type."""
    wanted = (f"CAST({quoted(field.name)} AS {duckdb_type(field.type)}) AS {quoted(field.name)}" for field in schema)
    return f"SELECT {', '.join(wanted)} FROM {source}"


def memory_rows(schema: pa.Schema, source: str) -> str:
    """Every column of an Arrow table in its type.

    Moments and floats are hidden from the optimizer: DuckDB hands `x > 0` and `x IN (…)` down to an Arrow table, for
    which NaN is greater than nothing, and wants a library for moments.
    """
    names = (field.name for field in schema if _is_misread(field.type))
    hidden = ", ".join(f"coalesce({quoted(name)}, NULL) AS {quoted(name)}" for name in names)
    rows = casts(schema, source)
    return f"SELECT * REPLACE ({hidden}) FROM ({rows})" if hidden else rows


def _is_misread(kind: Any) -> bool:
    """Whether Arrow takes comparisons with such a value, or with a field inside it, otherwise than DuckDB."""
    if pa.types.is_struct(kind):
        return any(_is_misread(field.type) for field in kind)
    return bool(pa.types.is_timestamp(kind) or pa.types.is_floating(kind))


def empty_rows(schema: pa.Schema) -> str:
    """A query without rows that has the columns of `schema`."""
    nulls = ", ".join(f"CAST(NULL AS {duckdb_type(field.type)}) AS {quoted(field.name)}" for field in schema)
    return f"SELECT {nulls} WHERE false"


def file_rows(schema: pa.Schema, files: Sequence[DataFile], *, position: bool = False) -> str:
    """A query over the rows of data files, in the columns of `schema`; columns that a file lacks are NULL.

    LakeError where a file is gone or of another size.
    With `position` there are two columns more: `__file` (its path) and `__row` (from 0).
    """
    if not files:
        return empty_rows(_with_position(schema) if position else schema)
    require_whole(files)
    whole = [file for file in files if not file.gone and not file.only]
    count = sum(file.rows for file in whole) if position else 0
    parts = [_rows_of(schema, whole, position=position, count=count)] if whole else []
    parts += [_left_rows(schema, each, position=position) for each in _apart(files)]
    return " UNION ALL ".join(parts)


def _rows_of(schema: pa.Schema, files: Sequence[DataFile], *, position: bool, count: int = 0) -> str:
    """`count`: DuckDB is told how many rows there are; knowing the schema it takes 1000 of each file for granted.

    It then joins a large file the wrong way round where a few of its rows are looked for by key, to be replaced: these
    are asked for with their positions. Of marked files, where few are looked for by position, that is the right way,
    and queries over whole tables measured faster without.
    """
    paths = ", ".join(literal(file.path) for file in files)
    wanted = (
        f"{columns(schema.names)}, filename AS {FILE}, file_row_number AS {ROW}" if position else columns(schema.names)
    )
    options = f"schema = {_file_schema(schema)}, hive_partitioning = false"
    options += f", explicit_cardinality = {count}" if count else ""
    return f"SELECT {wanted} FROM read_parquet([{paths}], {options})"


def _left_rows(schema: pa.Schema, files: Sequence[DataFile], *, position: bool) -> str:
    """The rows of files, each named once, without those that are marked as gone; or only some of them.

    Which ones these are is told from the positions alone: where none is left, DuckDB reads no row of the files, so long
    as it takes these for the larger side.
    """
    names = columns([*schema.names, FILE, ROW] if position else schema.names)
    gone = _positions_at([marks for file in files for marks in file.gone])
    only = _positions_at([marks for file in files for marks in file.only])
    left = f"(SELECT part.* FROM {only} part ANTI JOIN {gone} gone USING (file_path, pos))" if gone else only
    join = f"SEMI JOIN {left} part {_at('part')}" if only else f"ANTI JOIN {gone} gone {_at('gone')}"
    rows = _rows_of(schema, files, position=True, count=_MANY if only else 0)
    return f"SELECT {names} FROM ({rows}) marked {join}"


def _positions_at(marks: Sequence[Marks]) -> str:
    return positions_of(marks) if marks else ""


def unmarked(rows: str, files: Iterable[DataFile]) -> str:
    """Of rows with their positions in files those that are not marked as gone: quicker where they are few by now."""
    gone = [marks for file in files for marks in file.gone]
    return f"SELECT marked.* FROM ({rows}) marked ANTI JOIN {positions_of(gone)} gone {_at('gone')}" if gone else rows


def with_marked(files: Iterable[DataFile]) -> tuple[DataFile, ...]:
    """The files as if no row of them were gone."""
    return tuple(replace(file, gone=()) for file in files)


def positions_of(marks: Iterable[Marks]) -> str:
    """A query in brackets: paths of data files and positions in them."""
    paths = ", ".join(literal(path) for path in dict.fromkeys(each.path for each in marks))
    return f"(SELECT file_path, pos FROM read_parquet([{paths}], hive_partitioning = false))"


def _at(side: str) -> str:
    return f"ON marked.{FILE} = {side}.file_path AND marked.{ROW} = {side}.pos"


def _apart(files: Iterable[DataFile]) -> list[list[DataFile]]:
    """The marked files in groups that name no path twice, and are all or none restricted to some rows."""
    groups: dict[tuple[bool, int], list[DataFile]] = {}
    seen: dict[str, int] = {}
    for file in files:
        if file.gone or file.only:
            seen[file.path] = seen.get(file.path, -1) + 1
            groups.setdefault((bool(file.only), seen[file.path]), []).append(file)
    return list(groups.values())


def _with_position(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(FILE, pa.string())).append(pa.field(ROW, pa.int64()))


def _file_schema(schema: pa.Schema) -> str:
    by_id = all(field_id(field) is not None for field in schema)
    entries = (
        f"{field_id(field) if by_id else literal(field.name)}: "
        f"{{name: {literal(field.name)}, type: {literal(duckdb_type(field.type))}, default_value: NULL}}"
        for field in schema
    )
    return f"MAP {{{', '.join(entries)}}}"


def field_id(field: pa.Field[Any]) -> int | None:
    """The id that the table format gave the column, if any."""
    text = (field.metadata or {}).get(FIELD_ID)
    return int(text) if text is not None else None
