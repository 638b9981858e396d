"""Why a record could not be accepted: the reason codes of quarantine, and the rejected record as a value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_RAW_BYTES = 64 << 10
RAW_BUDGET = 32 << 20
WHOLE = -1


class Reason(StrEnum):
    """Reason codes; each is explained in docs/ingest.md."""

    CORRUPT_FILE = "corrupt_file"
    CORRUPT_BLOCK = "corrupt_block"
    CORRUPT_RECORD = "corrupt_record"
    UNSUPPORTED_CODEC = "unsupported_codec"
    SCHEMA_MISMATCH = "schema_mismatch"
    INVALID_JSON = "invalid_json"
    INVALID_CSV = "invalid_csv"
    INVALID_UTF8 = "invalid_utf8"
    MISSING_FIELD = "missing_field"
    SURPLUS_FIELD = "surplus_field"
    DUPLICATE_KEY = "duplicate_key"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    NULL_IN_REQUIRED = "null_in_required"
    UNKNOWN_SYMBOL = "unknown_symbol"
    UNKNOWN_SCHEMA = "unknown_schema"
    TOMBSTONE = "tombstone"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_SLOW = "too_slow"
    WORKER_CRASHED = "worker_crashed"


@dataclass(frozen=True)
class Reject:
    """One entry for quarantine: the record at `row` (0-based), or `records` records from there on.

    A negative `row` is no record's number: the WHOLE file, or bytes between records (`unnumbered`).

    `detail` names the field and what was expected, never a value. `raw` may be cut; `raw_size` is the whole.
    """

    row: int
    reason: Reason
    detail: str = ""
    raw: bytes = b""
    raw_size: int = 0
    records: int = 1
    schema_id: str = ""

    @classmethod
    def of(cls, row: int, reason: Reason, detail: str, raw: bytes | memoryview = b"", records: int = 1) -> Reject:
        """A reject that keeps at most MAX_RAW_BYTES of `raw`."""
        return cls(row, reason, detail[:2_000], bytes(raw[:MAX_RAW_BYTES]), len(raw), records)


def unnumbered(row: int) -> int:
    """What stands for bytes that no record accounts for, in the block whose first record is `row`."""
    return WHOLE - 1 - row


def within_budget(rejects: Iterable[Reject], budget: int = RAW_BUDGET) -> tuple[Reject, ...]:
    """The same rejects; once their raw bytes exceed `budget` in sum, later ones keep only the size."""
    kept: list[Reject] = []
    for reject in rejects:
        budget -= len(reject.raw)
        kept.append(reject if budget >= 0 else replace(reject, raw=b""))
    return tuple(kept)
