"""The commits of a Delta table as its log on the local disk has them; a commit file never changes once it is there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

from datalab.lake.provenance import Position, Provenance

NOTE_KEY = "userMetadata"
_APPLICATION, _SEPARATOR, _PARTS = "datalab", "|", 4
_DIGITS = 20


@dataclass(frozen=True)
class Entry:
    """One commit: rows and bytes of each file it added (by path, decoded), and the paths it removed.

    `rearranged`: it says of itself that it changed no data, as compaction does.
    """

    version: int
    at: datetime
    provenance: Provenance | None
    added: Mapping[str, int]
    removed: frozenset[str]
    rearranged: bool
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_snapshot(self) -> bool:
        """Whether it touched the data, or carries provenance; changes of schema and settings are no snapshots."""
        return bool(self.added or self.removed or self.provenance)


def read_entry(log: Path, version: int) -> Entry | None:
    """One commit, or None where the log does not have it (any more)."""
    path = entry_path(log, version)
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None


def read_entries(log: Path, newest: int) -> Iterator[Entry]:
    """The commits from a version backwards, as far as the log goes without a gap."""
    for version in range(newest, -1, -1):
        entry = read_entry(log, version)
        if entry is None:
            return
        yield entry


def all_entries(log: Path, newest: int) -> list[list[Entry]]:
    """All commits up to a version that the log still has, oldest first, in runs without a gap."""
    runs: list[list[Entry]] = []
    for version in sorted(versions(log)):
        entry = read_entry(log, version) if version <= newest else None
        if entry is None:
            continue
        if runs and runs[-1][-1].version == version - 1:
            runs[-1].append(entry)
        else:
            runs.append([entry])
    return runs


def versions(log: Path) -> Iterator[int]:
    """The versions whose commit the log has."""
    for name in os.listdir(log):  # noqa: PTH208 - thousands of entries: no object for each
        stem, _, suffix = name.partition(".")
        if suffix == "json" and len(stem) == _DIGITS and stem.isdigit():
            yield int(stem)


def entry_path(log: Path, version: int) -> Path:
    """The file of one commit."""
    return log / f"{version:0{_DIGITS}}.json"


@lru_cache(maxsize=4096)
def _read(path: Path, _changed: int) -> Entry:
    actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    adds = [action["add"] for action in actions if "add" in action]
    removes = [action["remove"] for action in actions if "remove" in action]
    info: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    return Entry(
        version=int(path.stem),
        at=_moment(info, path),
        provenance=_provenance(info.get(NOTE_KEY)),
        added={unquote(add["path"]): _rows(add) for add in adds},
        removed=frozenset(unquote(remove["path"]) for remove in removes),
        rearranged=bool(adds or removes) and not any(action.get("dataChange", True) for action in [*adds, *removes]),
        sizes={unquote(action["path"]): int(action.get("size") or 0) for action in [*removes, *adds]},
    )


def _moment(info: Mapping[str, Any], path: Path) -> datetime:
    milliseconds = info.get("inCommitTimestamp") or info.get("timestamp") or path.stat().st_mtime * 1000
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _provenance(note: object) -> Provenance | None:
    # Anybody may write what they like here: what is not ours is a foreign commit, never an error.
    try:
        return Provenance.from_json(str(note)) if note and "commit_id" in str(note) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _rows(add: Mapping[str, Any]) -> int:
    return int(json.loads(add.get("stats") or "{}").get("numRecords", 0))


def last_checkpoint(log: Path) -> int:
    """The version of the newest checkpoint; -1 where there is none."""
    try:
        return int(json.loads((log / "_last_checkpoint").read_text(encoding="utf-8"))["version"])
    except (FileNotFoundError, KeyError, ValueError):
        return -1


def transaction_ids(provenance: Provenance) -> dict[str, int]:
    """Where each flow stands as Delta `txn` entries: these stay when commits are cleaned away."""
    found = {}
    for flow, position in provenance.positions.items():
        for name, snapshot in position.inputs.items():
            found[_SEPARATOR.join((_APPLICATION, flow, position.code, "input", name))] = snapshot
        for name, offset in position.offsets.items():
            if isinstance(offset, int):
                found[_SEPARATOR.join((_APPLICATION, flow, position.code, "offset", name))] = offset
    return found


def checkpoint_positions(log: Path) -> dict[str, Position]:
    """Where the flows stand by the `txn` entries of the last checkpoint; empty without one."""
    try:
        table = pq.read_table(log / f"{last_checkpoint(log):020}.checkpoint.parquet", columns=["txn"])
    except (FileNotFoundError, ValueError):
        return {}
    entries = [entry for entry in table.column("txn").to_pylist() if entry]
    positions: dict[str, Position] = {}
    for entry in sorted(entries, key=lambda entry: entry.get("lastUpdated") or 0):
        application, *parts = entry["appId"].split(_SEPARATOR)
        if application == _APPLICATION and len(parts) == _PARTS:
            flow, code, kind, name = parts
            before = positions.get(flow)
            known = before if before is not None and before.code == code else Position(code)
            positions[flow] = _with(known, kind, name, entry["version"])
    return positions


def _with(position: Position, kind: str, name: str, value: int) -> Position:
    if kind == "input":
        return replace(position, inputs={**position.inputs, name: value})
    return replace(position, offsets={**position.offsets, name: value})
