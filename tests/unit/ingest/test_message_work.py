"""Messages on their way to rows: what is said of them besides their content."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from datalab.ingest.message_work import _moments


def test_moments_that_nobody_told_or_no_reader_knows_are_null() -> None:
    millis = [0, 1_700_000_000_000, 253_402_300_799_999, 253_402_300_800_000, 1_700_000_000_000_000_000, -1, None]
    first, second, last, *others = _moments(pa.array(millis, pa.int64())).to_pylist()
    assert (first, second) == (datetime(1970, 1, 1, tzinfo=UTC), datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))
    assert last == datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    assert others == [None] * 4
