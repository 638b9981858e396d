"""Side files: Parquet files of our own beside a table's data files, in hidden folders, named by the table's commits.

`_changes` holds the rows that a rewriting brought and took away, so that the change between two snapshots can be read
at a cost that follows the change. A commit that names none, or whose files are gone, is compared file by file instead.
`_state` holds what a flow keeps of groups, so that it need not read their rows again; its position names the files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from datalab.lake.provenance import Position, Provenance
from datalab.lake.table import DataFile, Difference, Marking, Relation, RowChanges, Snapshot, TableState
from datalab.lake.whole import is_whole

CHANGES, STATE = "_changes", "_state"
STATE_KEY = "state"
_DETAIL = "changes"


def noted(changes: RowChanges | None, marked: Iterable[Marking] = ()) -> dict[str, Any]:
    """What the provenance's `details` say of the rows that came and went; marks say it of their rows themselves."""
    marks = sum(marking.went for marking in marked)
    if changes is None or not (changes.copies or changes.files or marks):
        return {}
    copies = [Path(path).name for path in changes.copies]
    note = {"entered": _listed(changes.entered), "left": _listed(changes.left), "copies": copies}
    return {_DETAIL: {**note, "marked": marks} if marks else note}


def changes_of(state: TableState, snapshot: Snapshot) -> RowChanges | None:
    """What a commit says of the rows that came and went; None where only its files can tell. Copies by name.

    Rows that it marked as gone are not among them.
    """
    if snapshot.provenance is None:
        return None
    note = snapshot.provenance.details.get(_DETAIL)
    if note is None:
        return RowChanges() if not snapshot.rows_removed else None
    entered, left = (_files(state, CHANGES, note[side]) for side in ("entered", "left"))
    return RowChanges(entered, left, tuple(note["copies"]))


def is_exact(difference: Difference) -> bool:
    """Whether marks tell rows that went, and nothing else than marks and side files does: then none is a mere copy."""
    removed = difference.removed.files
    marked = [file for file in removed if file.only]
    return bool(marked) and all(file.only or Path(file.path).parent.name == CHANGES for file in removed)


def both_sides(difference: Difference) -> Relation:
    """All rows that came or went."""
    return Relation(difference.added.schema, (*difference.added.files, *difference.removed.files))


def rows_changed(snapshot: Snapshot) -> int:
    """Rows that have to be read to know what a commit changed: those that came and went, or all of its files."""
    made = snapshot.provenance
    note = made.details.get(_DETAIL) if made is not None else None
    if note is None:
        return snapshot.rows_added + snapshot.rows_removed
    left = sum(int(rows) for _, rows, _ in note["left"]) + int(note.get("marked", 0))
    return (made.written if made is not None else 0) + left


def keeps_state(position: Position) -> bool:
    """Whether a flow keeps something beside its rows."""
    return STATE_KEY in position.offsets


def state_files(state: TableState, flow: str, spared: Collection[str] = ()) -> dict[str, tuple[DataFile, ...]]:
    """What a flow keeps beside its rows, by name; empty where it keeps nothing, or where a file of it is not as it was.

    What is `spared` may be gone: the rest is of use without it.
    """
    position = state.positions.get(flow)
    listed = position.offsets.get(STATE_KEY, {}).get("files", {}) if position else {}
    found = {name: _files(state, STATE, entries) for name, entries in listed.items()}
    there = {name: each for name, each in found.items() if all(map(is_whole, each))}
    return there if there.keys() >= found.keys() - set(spared) else {}


def with_state(offsets: Mapping[str, Any], name: str, files: tuple[DataFile, ...]) -> dict[str, Any]:
    """What a position says of the files that a flow keeps, with some under this name."""
    listed = {**offsets.get(STATE_KEY, {}).get("files", {}), name: _listed(files)}
    return {**offsets, STATE_KEY: {"files": listed}}


def state_noted(files: Mapping[str, tuple[DataFile, ...]]) -> dict[str, Any]:
    """What a position says of the files that a flow keeps."""
    return {STATE_KEY: {"files": {name: _listed(each) for name, each in files.items()}}} if files else {}


def side_files(state: TableState, history: Iterable[Snapshot]) -> frozenset[str]:
    """The paths of all side files that a snapshot of `history`, or a flow's present position, names."""
    records = [snapshot.provenance for snapshot in history if snapshot.provenance is not None]
    positions = [*state.positions.values(), *(place for made in records for place in made.positions.values())]
    named = [entry for place in positions for entry in _state_entries(place.offsets)]
    found = {file.path for file in _files(state, STATE, named)}
    return frozenset(found | {file.path for made in records for file in _changes_in(state, made)})


def _changes_in(state: TableState, made: Provenance) -> tuple[DataFile, ...]:
    note = made.details.get(_DETAIL)
    return _files(state, CHANGES, [*note["entered"], *note["left"]]) if note else ()


def _state_entries(offsets: Mapping[str, Any]) -> list[list[Any]]:
    parts = offsets.get(STATE_KEY, {}).get("files", {})
    return [entry for listed in parts.values() for entry in listed]


def _listed(files: Iterable[DataFile]) -> list[list[Any]]:
    return [[Path(file.path).name, file.rows, file.size] for file in files]


def _files(state: TableState, folder: str, listed: Iterable[Iterable[Any]]) -> tuple[DataFile, ...]:
    place = Path(state.target().location.removeprefix("file://")) / folder
    return tuple(DataFile(str(place / name), rows, size) for name, rows, size in listed)
