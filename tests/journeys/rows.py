"""Rows of tables for comparison."""

from __future__ import annotations

import math
from typing import Any

from datalab.platform.lab import Lab

Row = dict[str, Any]


def table_rows(lab: Lab, sql: str) -> list[Row]:
    """The rows of a query."""
    rows: list[Row] = lab.query(sql).read_all().to_pylist()
    return rows


def close_rows(one: list[Row], other: list[Row], tolerance: float = 1e-9) -> bool:
    """Whether both hold the same rows in whatever order; floats may differ by the order in which they were added."""
    if len(one) != len(other):
        return False
    pairs = zip(sorted(one, key=_order), sorted(other, key=_order), strict=True)
    return all(left.keys() == right.keys() and _close(left, right, tolerance) for left, right in pairs)


def _order(row: Row) -> tuple[str, ...]:
    return tuple(f"{row[name]:.6g}" if isinstance(row[name], float) else str(row[name]) for name in sorted(row))


def _close(left: Row, right: Row, tolerance: float) -> bool:
    return all(_same(value, right[name], tolerance) for name, value in left.items())


def _same(left: Any, right: Any, tolerance: float) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=tolerance, abs_tol=tolerance) or (
            math.isnan(left) and math.isnan(right)
        )
    return bool(left == right)
