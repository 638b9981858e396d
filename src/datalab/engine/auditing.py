"""Checks over written rows: one bit mask splits the good from the bad in the same pass that writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from datalab.engine.base import Check
from datalab.engine.dialect import sql_of, translate
from datalab.engine.session import Session
from datalab.engine.writing import Written
from datalab.errors import EngineError

MAX_CHECKS = 62


def failed_mask(checks: Sequence[Check], now: datetime, origin: str) -> str:
    """A BIGINT expression over a row: bit i is set where drop or fail check i does not hold; empty without any."""
    if len(checks) > MAX_CHECKS:
        raise EngineError(f"{origin}: a table can have {MAX_CHECKS} constraints, not {len(checks)}", "join some by AND")
    bits = [
        f"(CASE WHEN {_condition(check, now, origin)} THEN 0 ELSE {1 << bit} END)"
        for bit, check in enumerate(checks)
        if check.action != "warn"
    ]
    return f"CAST({' + '.join(bits)} AS BIGINT)" if bits else ""


def failed_rows(checks: Sequence[Check], rejected: Iterable[Written]) -> dict[str, int]:
    """How many rows failed each drop and fail check, from the row counts of the files per mask."""
    files = list(rejected)
    return {
        check.name: sum(written.file.rows for written in files if written.bucket >> bit & 1)
        for bit, check in enumerate(checks)
        if check.action != "warn"
    }


def failed_counts(checks: Sequence[Check], mask: str) -> dict[str, str]:
    """The same as expressions over rows that have a `mask`."""
    strict = {check.name: bit for bit, check in enumerate(checks) if check.action != "warn"}
    return {name: f"count(*) FILTER ({mask} & {1 << bit} <> 0)" for name, bit in strict.items()}


def warned_rows(session: Session, checks: Sequence[Check], now: datetime, rows: str) -> dict[str, int]:
    """How many rows fail each warn check; reads only the columns that the conditions name."""
    warnings = [check for check in checks if check.action == "warn"]
    if not warnings:
        return {}
    counts = (f"count(*) FILTER (NOT {_condition(check, now, session.origin)})" for check in warnings)
    (answer,) = session.rows(f"SELECT {', '.join(counts)} FROM ({rows})")
    return {check.name: count for check, count in zip(warnings, answer, strict=True)}


def _condition(check: Check, now: datetime, origin: str) -> str:
    return f"(({sql_of(translate(check.condition, now, origin))}) IS TRUE)"
