"""Which data files can hold given keys, told file by file from their bounds; no file is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from datalab.engine.relations import columns, quoted
from datalab.engine.session import Session
from datalab.lake.table import DataFile

_COMPARED = 20_000_000
_MANY_KEYS, _READ_SOONER = 1_000, 20  # with so few rows a key, files are read as soon as told apart by all keys


@dataclass(frozen=True)
class KeyRange:
    """The lowest and highest value of a key column, and whether NULL is among them."""

    lowest: Any
    highest: Any
    has_null: bool


def candidates(files: Sequence[DataFile], ranges: Mapping[str, KeyRange]) -> tuple[DataFile, ...]:
    """The files that may hold a row whose every key lies in its range."""
    return tuple(file for file in files if all(_may_hold(file, key, wanted) for key, wanted in ranges.items()))


@dataclass(frozen=True)
class KeyRanges:
    """The ranges of the keys of a query's rows, and how many rows there are."""

    count: int
    keys: Mapping[str, KeyRange]


def files_with_keys(
    session: Session, rows: str, wanted: KeyRanges, files: Sequence[DataFile], schema: pa.Schema
) -> tuple[DataFile, ...]:
    """The files that may hold a key of the query `rows`: first by the range of all keys, then by each."""
    count, near = wanted.count, candidates(files, wanted.keys)
    if not count:
        return ()
    if len(near) <= 1 or len(near) * count > _COMPARED:
        return near
    if count >= _MANY_KEYS and sum(file.rows for file in near) <= _READ_SOONER * count:
        return near
    return _meeting(session, rows, tuple(wanted.keys), near, schema)


def key_ranges(session: Session, rows: str, keys: Sequence[str]) -> KeyRanges:
    """The ranges of the key columns of a query."""
    ((count, *values),) = session.rows(f"SELECT count(*), {', '.join(range_columns(keys))} FROM ({rows})")
    return ranges_of(count, values, keys)


def range_columns(keys: Sequence[str], only: str = "") -> list[str]:
    """The expressions that answer the ranges of some keys, of those rows that a FILTER lets pass."""
    known = (
        f"min({name}){only}, max({name}){only}, coalesce(bool_or({name} IS NULL){only}, false)"
        for name in map(quoted, keys)
    )
    return list(known)


def ranges_of(count: int, values: Sequence[Any], keys: Sequence[str]) -> KeyRanges:
    """What these expressions answered, for so many rows."""
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return KeyRanges(count, {key: KeyRange(*triple) for key, triple in zip(keys, triples, strict=True)})


def _may_hold(file: DataFile, key: str, wanted: KeyRange) -> bool:
    if wanted.has_null and file.nulls.get(key, 1):
        return True
    lower, upper = file.lower.get(key), file.upper.get(key)
    if lower is None or upper is None:
        return file.nulls.get(key) != file.rows
    if wanted.lowest is None:
        return False
    try:
        return bool((lower <= wanted.highest or _is_nan(wanted.highest)) and wanted.lowest <= upper)
    except TypeError:
        return True


def _is_nan(value: Any) -> bool:
    """NaN, the highest of all numbers in SQL; Python says that no number lies below it."""
    return isinstance(value, float) and math.isnan(value)


def _meeting(
    session: Session, rows: str, keys: Sequence[str], files: Sequence[DataFile], schema: pa.Schema
) -> tuple[DataFile, ...]:
    bounds: dict[str, pa.Array] = {"file": pa.array(range(len(files)), pa.int32())}
    conditions = []
    for number, key in enumerate(keys):
        known = _bounds(files, key, schema.field(key).type)
        if known is not None:
            bounds |= {f"{side}{number}": values for side, values in known.items()}
            conditions.append(_inside(f"keys.{quoted(key)}", number))
    if not conditions:
        return tuple(files)
    listed = session.registered(pa.table(bounds))
    wanted = f"SELECT DISTINCT {columns(keys)} FROM ({rows})"
    found = session.rows(
        f"SELECT file FROM {listed} files WHERE EXISTS (SELECT 1 FROM ({wanted}) keys WHERE {' AND '.join(conditions)})"
    )
    return tuple(files[index] for index in sorted(index for (index,) in found))


def _inside(key: str, number: int) -> str:
    between = f"coalesce({key} BETWEEN files.lower{number} AND files.upper{number}, false)"
    return f"CASE WHEN {key} IS NULL THEN files.null{number} ELSE files.any{number} OR {between} END"


def _bounds(files: Sequence[DataFile], key: str, kind: pa.DataType) -> Mapping[str, pa.Array] | None:
    """Per file: the bounds of a column, whether it may hold NULL, and whether it may hold anything."""
    pairs = [(file.lower.get(key), file.upper.get(key)) for file in files]
    unknown = [lower is None or upper is None for lower, upper in pairs]
    only_null = [file.nulls.get(key) == file.rows for file in files]
    try:
        lower, upper = (pa.array([pair[side] for pair in pairs], kind) for side in (0, 1))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return None
    anything = [is_unknown and not empty for is_unknown, empty in zip(unknown, only_null, strict=True)]
    return {
        "lower": lower,
        "upper": upper,
        "null": pa.array([bool(file.nulls.get(key, 1)) for file in files]),
        "any": pa.array(anything),
    }
