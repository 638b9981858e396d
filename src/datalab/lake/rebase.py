"""Whether a change still holds on a newer state than the one it was made from, and what it is there.

It does where nothing came in between that it had read: its flow stands where it stood, every row that it replaces is
still there, and among the rows that others brought there is none that it would have looked at. Then the outcome is the
same as if it had been made from the newer state, and nobody's work is done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datalab.errors import DataLabError
from datalab.lake.formats.base import Format
from datalab.lake.read import rows_changed_between
from datalab.lake.table import Change, Snapshot, TableState, reads_nothing

# Of none of these is a key gone afterwards that was there before.
_KEEPING = frozenset({"append", "upsert", "compact", "define"})


def rebased(tables: Format, state: TableState, newest: TableState, change: Change) -> Change | None:
    """The change as it is to be committed on `newest`; None where it has to be made anew, or nobody can tell."""
    if (newest.schema, newest.partition, newest.location) != (state.schema, state.partition, state.location):
        return None
    try:
        between = since(tables, newest, state)
        if between is None:
            return None
        if newest.positions == state.positions and all(each.operation == "compact" for each in between):
            return change if _finds(tables, newest, change) else None
        return _among_others(tables, (state, newest), between, change)
    except (DataLabError, OSError):  # what came in between is gone already, or cannot be read
        return None


def since(tables: Format, newest: TableState, state: TableState) -> tuple[Snapshot, ...] | None:
    """All commits after `state`; None where some of them are not known any more."""
    if newest.snapshot == state.snapshot:
        return ()
    history = tables.history(newest)
    known = [index for index, snapshot in enumerate(history) if snapshot.id == state.snapshot]
    after = history[known[-1] + 1 :] if known else ()
    return None if not after or any(snapshot.after_gap for snapshot in after) else after


def _among_others(
    tables: Format, states: tuple[TableState, TableState], between: Sequence[Snapshot], change: Change
) -> Change | None:
    (state, newest), flow = states, change.provenance.flow
    if newest.positions.get(flow) != state.positions.get(flow):
        return None
    if change.provenance.kind == "compact" or not all(_leaves_alone(snapshot, flow) for snapshot in between):
        return None
    if change.whole:
        return replace(change, remove=tables.files(newest).files, marked=())
    if change.provenance.fresh or change.meets is None or not _finds(tables, newest, change):
        return None
    return None if _meets(tables, states, change) else change


def _leaves_alone(snapshot: Snapshot, flow: str) -> bool:
    """Whether a commit has neither consumed what `flow` consumes nor taken away what is not there anew."""
    made = snapshot.provenance
    return snapshot.operation in _KEEPING and (made is None or (made.flow != flow and not made.fresh))


def _finds(tables: Format, newest: TableState, change: Change) -> bool:
    """Whether all that it removes or marks is there, with the rows that it was read with."""
    return change.is_of(tables.files(newest).files if change.remove or change.marked else ())


def _meets(tables: Format, states: tuple[TableState, TableState], change: Change) -> bool:
    state, newest = states
    if change.meets is reads_nothing:
        return False
    assert change.meets is not None
    assert newest.snapshot is not None
    came = rows_changed_between(tables, newest, state.snapshot, newest.snapshot).added
    return came.scan is not None or change.meets(came)
