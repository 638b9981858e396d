"""Listing: which files a pattern means, and what their format is."""

from __future__ import annotations

from pathlib import Path

import pytest

from datalab.errors import SourceError
from datalab.ingest.sources.base import Consumed
from datalab.ingest.sources.files_consumed import consumed_versions
from datalab.ingest.sources.listing import format_of, list_files


def test_files_are_named_relative_and_sorted_and_unfinished_ones_left_out(tmp_path: Path) -> None:
    for name in (
        "b.avro",
        "a.avro",
        "sub/c.avro",
        "x.avro.tmp",
        "y.part",
        ".z.avro",
        "_w.avro",
        "_sub/v.avro",
        "n.txt",
    ):
        path = tmp_path / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (tmp_path / "landing" / "d.avro").mkdir()
    found = list_files(tmp_path, "landing/**/*.avro")
    assert [each.name for each in found] == ["landing/a.avro", "landing/b.avro", "landing/sub/c.avro"]
    assert {each.size for each in found} == {5}
    assert not list_files(tmp_path, "nowhere/*.avro")


@pytest.mark.parametrize("pattern", ["/etc/*", "../x/*.avro", "a/../../b"])
def test_a_pattern_stays_in_the_project(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SourceError, match="leads out of the project"):
        list_files(tmp_path, pattern)


@pytest.mark.parametrize(
    ("name", "setting", "kind"),
    [
        ("a.avro", None, "avro"),
        ("a.CSV", None, "csv"),
        ("a.csv.gz", None, "csv.gz"),
        ("a.ndjson", None, "jsonl"),
        ("a.txt", None, None),
        ("a.txt", "csv", "csv"),
        ("a.txt.gz", "csv", "csv.gz"),
        ("a.avro.gz", None, None),
        ("a", "parquet", "parquet"),
    ],
)
def test_formats(name: str, setting: str | None, kind: str | None) -> None:
    assert format_of(name, setting) == kind


def test_what_was_consumed_is_asked_of_the_rows_only_where_commits_are_missing() -> None:
    details = ({"files": [["a", "va", 3]]}, {"files": [["b", "vb", 1]]}, {"replayed": ["id"]})
    offsets = {"files": 3, "empty": {"c": "vc"}}
    assert consumed_versions(Consumed({**offsets, "files": 2}, details)) == {"a": "va", "b": "vb", "c": "vc"}
    with pytest.raises(ZeroDivisionError):
        consumed_versions(Consumed(offsets, details, lambda: 1 // 0))  # type: ignore[arg-type, return-value]
