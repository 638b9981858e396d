"""Listing: which files a pattern means, and what their format is."""

from __future__ import annotations

import errno
import glob
import os
from pathlib import Path

import pytest

from datalab.errors import SourceError, SourceUnavailable
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


def test_a_folder_that_links_to_one_it_is_in_is_entered_once(tmp_path: Path) -> None:
    inner = tmp_path / "landing" / "a"
    inner.mkdir(parents=True)
    (inner / "x.csv").write_text("id\n")
    (inner / "self").symlink_to(inner)
    (inner / "up").symlink_to(tmp_path)
    (tmp_path / "landing" / "b").mkdir()
    (tmp_path / "landing" / "b" / "to_a").symlink_to(inner)
    (inner / "to_b").symlink_to(tmp_path / "landing" / "b")
    (inner / "circle.csv").symlink_to(inner / "circle.csv")
    (inner / "nowhere.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "landing" / "other").symlink_to(inner)
    (inner / "again.csv").symlink_to(inner / "x.csv")
    names = [f"landing/{folder}/{file}.csv" for folder in ("a", "b/to_a", "other") for file in ("again", "x")]
    assert [each.name for each in list_files(tmp_path, "landing/**/*.csv")] == names


@pytest.mark.parametrize(
    "pattern",
    ["**", "**/*.csv", "a/**", "a/**/*", "a/*/*.csv", "*/x.csv", "a/x.csv", "./a/*.csv", "a/[xy].csv", "**/b/**/*.csv",
     "a/x.csv/*", "nowhere/**", "a**/x.csv", "**/**/y*"],
)  # fmt: skip
def test_patterns_mean_what_they_mean_to_glob(tmp_path: Path, pattern: str) -> None:
    for name in ("a/x.csv", "a/y.csv", "a/b/x.csv", "a/b/c/y.csv", "b/x.csv", "x.csv", "a/z.txt", "a/b/c/d/b/x.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = {path for path in glob.glob(pattern, root_dir=tmp_path, recursive=True) if (tmp_path / path).is_file()}  # noqa: PTH207
    assert {each.name for each in list_files(tmp_path, pattern)} == {name.removeprefix("./") for name in expected}


@pytest.mark.parametrize("pattern", ["landing/*.csv", "landing/**/*.csv"])
def test_a_folder_that_cannot_be_listed_is_trouble_and_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    def refused(folder: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    monkeypatch.setattr("datalab.ingest.sources.walking.os.scandir", refused)
    with pytest.raises(SourceUnavailable, match=r"landing/ cannot be listed: Permission denied"):
        list_files(tmp_path, pattern)


def test_a_name_that_is_not_utf8_is_told_with_escapes(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.csv")  # noqa: PTH118 - bytes
    Path(os.fsdecode(path)).write_text("id\n")
    (tmp_path / "café.csv").write_text("id\n")
    escaped, plain = list_files(tmp_path, "*.csv")
    assert (escaped.name, plain.name) == ("caf\\xe9.csv", "café.csv")
    assert Path(escaped.path).read_text() == "id\n"


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
