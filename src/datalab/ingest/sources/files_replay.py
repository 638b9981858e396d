"""Quarantined entries of files as jobs: which records of which file each entry stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from datalab.ingest.jobs import FileDone, FileJob
from datalab.ingest.sources.listing import format_of

_END = (1 << 63) - 1
_COLUMNS = ("id", "unit", "source_file", "source_row", "records", "raw", "raw_size")


@dataclass(frozen=True)
class Entry:
    """One quarantined entry: records `start` up to `stop` of a version of a file."""

    id: str
    name: str
    version: str
    start: int
    stop: int
    raw: bytes


def entries_of(records: pa.Table) -> list[Entry]:
    """The entries of rows with QUARANTINE_SCHEMA that came from a file, ordered by file and position."""
    rows = records.select(_COLUMNS).to_pylist()
    found = (_entry(*(row[name] for name in _COLUMNS)) for row in rows if row["source_file"] and row["unit"])
    return sorted(found, key=lambda each: (each.name, each.version, each.start))


def _entry(
    entry: str, unit: str, name: str, row: int | None, records: int, raw: bytes | None, raw_size: int | None
) -> Entry:
    start, stop = (0, _END) if row is None else (row, row + records)
    complete = raw if raw and len(raw) == raw_size else b""
    return Entry(entry, name, unit.rpartition("@")[2], start, stop, complete)


def to_jobs(entries: Iterable[Entry], root: Path, setting: str | None) -> list[FileJob]:
    """One job per file that the entries name, limited to their records and to the version that they came from."""
    jobs = []
    for (name, version), group in groupby(entries, key=lambda each: (each.name, each.version)):
        ranges = tuple((each.start, each.stop) for each in group)
        kind = format_of(name, setting)
        if kind:
            jobs.append(FileJob(name, str(root / name), kind, ranges=ranges, version=version))
    return jobs


def good_entries(entries: Sequence[Entry], tried: Mapping[str, FileDone]) -> list[Entry]:
    """Entries of which every record was accepted now, and no other version of the file was found in its place."""
    return [each for each in entries if (done := tried.get(each.name)) and not done.problem and _is_good(each, done)]


def _is_good(entry: Entry, done: FileDone) -> bool:
    bad = any(
        reject.row < 0 or (reject.row < entry.stop and entry.start < reject.row + reject.records)
        for reject in done.rejects
    )
    return not bad and done.version == entry.version and any(entry.start <= row < entry.stop for row in done.rows)


def from_raw(entries: Iterable[Entry], setting: str | None) -> list[tuple[Entry, FileJob]]:
    """Jobs over the raw bytes themselves, for formats whose records stand alone."""
    return [
        (each, FileJob(each.name, "", "jsonl", version=each.version, data=each.raw, first=each.start, ranges=((0, 1),)))
        for each in entries
        if each.raw and each.stop == each.start + 1 and (format_of(each.name, setting) or "").startswith("jsonl")
    ]
