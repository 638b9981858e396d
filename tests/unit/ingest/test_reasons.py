"""Reasons: documented, and raw bytes within their budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from datalab.ingest.reasons import MAX_RAW_BYTES, Reason, Reject, within_budget

DOCS = Path(__file__).parents[3] / "docs" / "ingest.md"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented(reason: Reason) -> None:
    assert f"| `{reason}` |" in DOCS.read_text(encoding="utf-8")


def test_raw_bytes_are_bounded_for_one_record_and_for_all() -> None:
    one = Reject.of(0, Reason.TOO_LARGE, "", bytes(MAX_RAW_BYTES + 1))
    assert (len(one.raw), one.raw_size) == (MAX_RAW_BYTES, MAX_RAW_BYTES + 1)
    kept = within_budget([one] * 5, budget=2 * MAX_RAW_BYTES)
    assert [len(each.raw) for each in kept] == [MAX_RAW_BYTES] * 2 + [0] * 3
    assert all(each.raw_size == MAX_RAW_BYTES + 1 for each in kept)
