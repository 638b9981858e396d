"""Which data files can hold given keys, told from their bounds alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datalab.engine.relations import quoted
from datalab.engine.session import Session
from datalab.lake.table import DataFile


@dataclass(frozen=True)
class KeyRange:
    """The lowest and highest value of a key column, and whether NULL is among them."""

    lowest: Any
    highest: Any
    has_null: bool


def key_ranges(session: Session, rows: str, keys: Sequence[str]) -> dict[str, KeyRange]:
    """The ranges of the key columns of a query; empty where the query has no rows."""
    names = [quoted(key) for key in keys]
    wanted = ", ".join(f"min({name}), max({name}), coalesce(bool_or({name} IS NULL), false)" for name in names)
    ((count, *values),) = session.rows(f"SELECT count(*), {wanted} FROM ({rows})")
    if not count:
        return {}
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return {key: KeyRange(*triple) for key, triple in zip(keys, triples, strict=True)}


def candidates(files: Sequence[DataFile], ranges: Mapping[str, KeyRange]) -> tuple[DataFile, ...]:
    """The files that may hold a row whose every key lies in its range."""
    return tuple(file for file in files if all(_may_hold(file, key, wanted) for key, wanted in ranges.items()))


def _may_hold(file: DataFile, key: str, wanted: KeyRange) -> bool:
    if wanted.has_null and file.nulls.get(key, 1):
        return True
    lower, upper = file.lower.get(key), file.upper.get(key)
    if lower is None or upper is None:
        return file.nulls.get(key) != file.rows
    if wanted.lowest is None:
        return False
    try:
        return bool(lower <= wanted.highest and wanted.lowest <= upper)
    except TypeError:
        return True
