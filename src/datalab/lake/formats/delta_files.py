"""Data files of Delta tables: from the log's actions to the lake's values, and from Parquet files to actions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.types as kinds
from deltalake.transaction import AddAction, RemoveAction

from datalab.lake.formats.parquet import ColumnStatistics, lower_bound, read_footer, require_fit, upper_bound
from datalab.lake.recent import Recent
from datalab.lake.table import DataFile

if TYPE_CHECKING:
    from deltalake import DeltaTable

OUR_PREFIX = "dl-"
_TEXT_BOUND = 32
_EXACT_DIGITS = 15
_KEPT = 64
_TELLING = ("path", "size_bytes", "modification_time", "num_records")
_Told = tuple[str, int, int, int | None]
# Other writers cut the timestamps of their statistics to milliseconds, downwards.
_CUT = timedelta(microseconds=999)


@dataclass(frozen=True)
class Layout:
    """Where a table's files are, what columns they have, and by which of them they are split."""

    root: Path
    schema: pa.Schema
    partition: tuple[str, ...]


class LiveFiles:
    """The live files of tables. From version to version most stay, and are not put together again.

    A file is known by what the log says of it now, so that one that another writer described anew is another one.
    """

    def __init__(self) -> None:
        self._versions = Recent[tuple[str, str, int], tuple[DataFile, ...]](_KEPT)
        self._last = Recent[tuple[str, str], tuple[pa.Schema, dict[_Told, DataFile]]](_KEPT)

    def of(self, table: DeltaTable, layout: Layout) -> tuple[DataFile, ...]:
        """The live files of a table at the version of its handle."""
        place = (str(layout.root), str(table.metadata().id))
        return self._versions.get((*place, table.version()), lambda: self._read(table, layout, place))

    def _read(self, table: DeltaTable, layout: Layout, place: tuple[str, str]) -> tuple[DataFile, ...]:
        actions = pa.table(table.get_add_actions(flatten=False))
        told = list(zip(*(actions.column(name).to_pylist() for name in _TELLING), strict=True))
        schema, known = self._last.get(place, lambda: (layout.schema, {}))
        if not schema.equals(layout.schema):
            known = {}
        fresh = [index for index, each in enumerate(told) if each not in known]
        made = [_data_file(action, layout) for action in actions.take(fresh).to_pylist()] if fresh else []
        known = {**known, **{told[index]: file for index, file in zip(fresh, made, strict=True)}}
        files = tuple(known[each] for each in told)
        self._last.put(place, (layout.schema, dict(zip(told, files, strict=True))))
        return files


def is_ours(path: str) -> bool:
    """Whether one of our engines wrote the file: it holds the partition columns too, and its bounds are exact."""
    return path.rpartition("/")[2].startswith(OUR_PREFIX)


def add_action(file: DataFile, layout: Layout, moment: int, *, rearranged: bool) -> AddAction:
    """The action that adds a new file; its statistics come from its own footer. `moment` in ms since 1970."""
    footer = read_footer(file.path)
    require_fit(file.path, footer, layout.schema)
    return AddAction(
        path=_relative(file.path, layout.root),
        size=file.size,
        partition_values=_partition_values(file, layout),
        modification_time=moment,
        data_change=not rearranged,
        stats=_statistics(footer.rows, footer.columns),
    )


def remove_action(file: DataFile, layout: Layout, moment: int, *, rearranged: bool) -> RemoveAction:
    """The action that removes a live file."""
    values = _partition_values(file, layout)
    return RemoveAction(_relative(file.path, layout.root), not rearranged, moment, file.size, values)


def absolute(path: str, root: Path) -> str:
    """The place of a file that the log names, decoded, relative to the table or as a whole."""
    if path.startswith("/") or (":" in path and urlsplit(path).scheme):
        return path
    return str(root / path) if "./" in path or "//" in path else f"{root}/{path}"


def _data_file(action: Mapping[str, Any], layout: Layout) -> DataFile:
    path = unquote(action["path"])
    upper = _known(action.get("max") or {})
    return DataFile(
        path=absolute(path, layout.root),
        rows=action["num_records"] or 0,
        size=action["size_bytes"],
        partition=tuple((action.get("partition") or {}).get(column) for column in layout.partition),
        lower=_known(action.get("min") or {}),
        upper=upper if is_ours(path) else _widened(upper, layout.schema),
        nulls={name: count for name, count in (action.get("null_count") or {}).items() if isinstance(count, int)},
    )


def _known(bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in bounds.items() if value is not None and not isinstance(value, dict)}


def _widened(upper: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    floating = {field.name for field in schema if kinds.is_floating(field.type)}
    return {
        name: value + _CUT if isinstance(value, datetime) else value
        for name, value in upper.items()
        if name not in floating  # it may pass over NaN, which sorts after every number
    }


def _relative(path: str, root: Path) -> str:
    place = Path(path)
    return str(place.relative_to(root)) if place.is_relative_to(root) else path


def _partition_values(file: DataFile, layout: Layout) -> dict[str, str | None]:
    return {column: _text(value) for column, value in zip(layout.partition, file.partition, strict=True)}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return _stamp(value) if isinstance(value, datetime) else str(value)


def _stamp(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _statistics(rows: int, columns: Sequence[ColumnStatistics]) -> str:
    lower: dict[str, Any] = {}
    upper: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    for column in columns:
        if column.repeated:
            continue  # the log's readers take statistics of lists for an error, and then refuse the whole table
        _put(nulls, column.path, column.nulls)
        _put(lower, column.path, _jsonable(lower_bound(column.lower, _TEXT_BOUND)))
        _put(upper, column.path, _jsonable(upper_bound(column.upper, _TEXT_BOUND)))
    return json.dumps({"numRecords": rows, "minValues": lower, "maxValues": upper, "nullCount": nulls})


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    if value is None:
        return
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _jsonable(value: Any) -> Any:
    """A bound as the log's JSON has it, None for what it cannot hold."""
    if isinstance(value, bool | bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, Decimal):
        return float(value) if len(value.as_tuple().digits) <= _EXACT_DIGITS else None
    if isinstance(value, datetime):
        return _stamp(value)
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, int | float | str) else None
