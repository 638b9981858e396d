"""What the properties of a table say of its files, however others wrote them."""

from __future__ import annotations

import pytest

from datalab.lake.layout import MARK_ROWS, file_rows_of, mark_rows_of


@pytest.mark.parametrize(
    ("properties", "rows"),
    [
        ({}, MARK_ROWS),
        ({"datalab.mark_rows": "7"}, 7),
        ({"datalab.mark_rows": "0"}, 0),
        ({"datalab.mark_rows": "many"}, MARK_ROWS),
        ({"datalab.mark_rows": "7", "write.merge.mode": "Copy-On-Write"}, 0),
        ({"datalab.mark_rows": "7", "write.merge.mode": "merge-on-read"}, 7),
    ],
)
def test_rows_from_which_on_files_are_marked(properties: dict[str, str], rows: int) -> None:
    assert mark_rows_of(properties) == rows


@pytest.mark.parametrize(("text", "rows"), [("4096", 4096), ("0", 0), ("", 0), ("many", 0)])
def test_rows_of_a_full_file(text: str, rows: int) -> None:
    assert file_rows_of({"datalab.file_rows": text}) == rows
