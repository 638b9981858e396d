"""What was produced against what the lake holds: every record exactly once, in bronze or in quarantine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, order=True)
class Record:
    """A source record by its position, with the values that tell it from its neighbours."""

    file: str
    row: int
    key: str = ""
    sequence: int = 0


@dataclass(frozen=True, order=True)
class Finding:
    """Something that must not be: a lost, doubled or invented record, or one with another record's values."""

    kind: str
    file: str
    row: int


def read_ledger(path: Path, source: str) -> Iterator[tuple[Record, bool]]:
    """The records that a simulator says it wrote for a source, and whether each can be decoded."""
    with path.open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if line["file"].startswith(f"landing/{source}/"):
                record = Record(line["file"], line["row"], line["proponente_id"], line["sequence"])
                yield record, line["kind"] != "corrupt"


def compare(
    produced: Iterable[tuple[Record, bool]], bronze: Iterable[Record], quarantine: Iterable[Mapping[str, Any]]
) -> list[Finding]:
    """All differences between the ledger and the lake; empty if each record is where it belongs, once.

    `quarantine` has `source_file`, `source_row` and `records` of each entry.
    """
    ledger = list(produced)
    good = {(record.file, record.row): record for record, decodable in ledger if decodable}
    corrupt = Counter(record.file for record, decodable in ledger if not decodable)
    held = list(bronze)
    present = Counter((record.file, record.row) for record in held)
    set_aside: Counter[str] = Counter()
    for entry in quarantine:
        set_aside[entry["source_file"]] += entry["records"]
    findings = [Finding("lost", *position) for position in good if not present[position]]
    findings += [Finding("doubled", *position) for position, count in present.items() if count > 1]
    findings += [Finding("invented", *position) for position in present if position not in good]
    findings += [Finding("altered", r.file, r.row) for r in held if good.get((r.file, r.row), r) != r]
    findings += [Finding("lost", file, -1) for file, count in corrupt.items() if set_aside[file] < count]
    findings += [Finding("doubled", file, -1) for file, count in set_aside.items() if count > corrupt[file]]
    return sorted(findings)
