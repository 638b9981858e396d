"""Files that follow an order without a sort: rows are split into ranges of a value, each into a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datalab.engine.relations import literal, quoted
from datalab.engine.session import Session
from datalab.lake.table import DataFile, WriteTarget

RANGE = "__range"
MAX_RANGES = 160
_SAMPLED = 100
_SAMPLE = f"{100 // _SAMPLED} PERCENT (bernoulli, 1)"


def ordered(target: WriteTarget) -> str:
    """An ORDER BY of a target's cluster columns; empty where it has none."""
    keys = ", ".join(f"{quoted(name)} NULLS FIRST" for name in target.cluster)
    return f" ORDER BY {keys}" if keys else ""


def sampled_range(session: Session, target: WriteTarget, rows: str) -> str:
    """The number of the range that a row of the target belongs to, as an expression; empty where one file will do.

    The borders are quantiles of a sample of the query `rows`, which has the cluster columns.
    """
    if not target.cluster or not target.file_rows or target.partition:
        return ""
    value = _value(target)
    sample = session.table(f"SELECT * FROM (SELECT {value} AS value FROM ({rows})) USING SAMPLE {_SAMPLE}")
    ((count,),) = session.rows(f"SELECT count(*) FROM {sample}")
    parts = min(count * _SAMPLED // target.file_rows, MAX_RANGES)
    if parts <= 1:
        return ""
    at = ", ".join(str(part / parts) for part in range(1, parts))
    ((borders,),) = session.rows(f"SELECT quantile_disc(value, [{at}]) FROM {sample}")
    return _range(value, sorted({border for border in borders if border is not None}))


def in_order(target: WriteTarget, files: Sequence[DataFile]) -> tuple[DataFile, ...]:
    """The files of a target in the order that they follow; those without a known place come first."""
    if not target.cluster:
        return tuple(files)
    name = target.cluster[0]
    known = [file for file in files if file.lower.get(name) is not None]
    unknown = [file for file in files if file.lower.get(name) is None]
    return (*unknown, *sorted(known, key=lambda file: file.lower[name]))


def range_of_files(target: WriteTarget, files: Sequence[DataFile]) -> str:
    """The number of the one of `files` whose place in the order a row of the target has, as an expression."""
    if not target.cluster or target.partition:
        return ""
    name = target.cluster[0]
    lowest = sorted({file.lower[name] for file in files if file.lower.get(name) is not None})
    return _range(quoted(name), lowest[1:])


def _value(target: WriteTarget) -> str:
    if len(target.cluster) == 1:
        return quoted(target.cluster[0])
    keys = ", ".join(f"{quoted(name)}, 'ASC NULLS FIRST'" for name in target.cluster)
    return f"create_sort_key({keys})"


def _range(value: str, borders: Sequence[Any]) -> str:
    return _choice(value, [_literal(border) for border in borders], 0) if borders else ""


def _choice(value: str, borders: Sequence[str], first: int) -> str:
    """Halves the borders at each step: a row is compared with few of them."""
    if not borders:
        return str(first)
    half = len(borders) // 2
    below = _choice(value, borders[:half], first)
    above = _choice(value, borders[half + 1 :], first + half + 1)
    return f"CASE WHEN {value} < {borders[half]} THEN {below} ELSE {above} END"


def _literal(border: Any) -> str:
    if isinstance(border, bytes):
        return f"from_hex('{border.hex()}')"
    return literal(str(border))
