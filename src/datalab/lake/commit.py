"""One way to commit, in three outcomes: landed, not landed, or unknown and then resolved by reading back.

Nothing here ever writes a second time after an error of storage: it says nothing about what happened, only the table
does. A writer that was overtaken by nothing that concerns it commits again, on top of the others: see rebase.py.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from datalab.errors import CommitFailed, CommitUnknown, DataLabError, Fenced, LakeError, StorageFull
from datalab.events import Bus, CommitLanded
from datalab.lake.formats.base import Format, Overtaken
from datalab.lake.local import flush
from datalab.lake.rebase import rebased
from datalab.lake.table import Change, Snapshot, TableState
from datalab.lake.turn import turn, turn_after
from datalab.names import TableName

_FULL = ("no space left on device", "database or disk is full", "disk quota exceeded")
_LONGEST_WAIT = 1.0
_REBASES = 10


def commit(tables: Format, state: TableState, change: Change, bus: Bus | None = None) -> TableState:
    """Commit a change, made from exactly the state that was read, and answer the new state.

    The provenance gets the positions of all flows into the table. Raises Fenced where another writer came first and
    touched what the change comes from, CommitFailed or StorageFull where nothing landed, CommitUnknown where that
    cannot be found out.
    """
    try:
        flush(change.fresh_paths)
    except OSError as error:
        return _told(*_resolve(tables, state, change, error), bus)
    with turn(state.location) as alone:
        return _told(*_attempt(tables, state, change, alone=alone), bus)


def _told(after: TableState, resolved: bool, bus: Bus | None) -> TableState:
    if bus is not None and after.snapshot is not None:
        bus.emit(CommitLanded(str(after.name), after.snapshot, resolved))
    return after


def _attempt(tables: Format, state: TableState, change: Change, *, alone: bool) -> tuple[TableState, bool]:
    """The state after the commit, and whether that was found out by reading back."""
    for attempt in range(_REBASES):
        try:
            if alone and attempt == 0:
                _require_newest(tables, state)
            whole = replace(change, provenance=change.provenance.carrying(state.positions))
            return tables.commit(state, whole), False
        except Overtaken as overtaken:
            onto = _onto_newest(tables, state, change) if attempt + 1 < _REBASES else None
            if onto is None:
                return _landed_after_all(tables, state, change, overtaken), True
            state, change = onto
        except Exception as error:  # noqa: BLE001 - whatever it says, the outcome is unknown until it is read back
            return _resolve(tables, state, change, error)
    raise AssertionError("the loop above answers or raises")


def _require_newest(tables: Format, state: TableState) -> None:
    """Overtaken before anything is written in vain, where that can be told."""
    newest = _newest(tables, state.name)
    if newest is not None and newest.snapshot != state.snapshot:
        raise Overtaken(f"{state.name} has moved on from snapshot {state.snapshot}")


def _onto_newest(tables: Format, state: TableState, change: Change) -> tuple[TableState, Change] | None:
    """The newest state, and the change as it is there, if it is any."""
    newest = _newest(tables, state.name)
    onto = rebased(tables, state, newest, change) if newest is not None else None
    return (newest, onto) if newest is not None and onto is not None else None


def _newest(tables: Format, name: TableName) -> TableState | None:
    with suppress(Exception):  # the commit, or reading back, will tell what is wrong
        return tables.load(name)
    return None


def commit_rebased(
    tables: Format,
    name: TableName,
    make_change: Callable[[TableState], Change | None],
    bus: Bus | None = None,
    attempts: int = 20,
) -> TableState:
    """Commit to a table that many writers append to: each attempt's change is made anew from the newest state.

    Nothing is committed where the change is None. Raises Fenced after so many lost races. The table must exist.
    """
    for attempt in turns(attempts):
        with turn_after(attempt, _present(tables, name).location):
            state = _present(tables, name)
            change = make_change(state)
            if change is None:
                return state
            try:
                return commit(tables, state, change, bus)
            except Fenced:
                if attempt == attempts:
                    raise
    raise AssertionError("the loop above answers or raises")


def _present(tables: Format, name: TableName) -> TableState:
    state = tables.load(name)
    if state is None:
        raise CommitFailed(f"{name} is gone", "datalab data list shows the tables that exist")
    return state


def turns(attempts: int) -> Iterator[int]:
    """So many attempts at what others may be faster at, from 1; before each but the first a pause at random.

    The pauses grow, up to a second, so that writers do not keep in step.
    """
    for attempt in range(1, attempts + 1):
        yield attempt
        if attempt < attempts:
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.01 * 2**attempt)))  # noqa: S311 - jitter is no secret


def _landed_after_all(tables: Format, state: TableState, change: Change, error: Exception) -> TableState:
    newest = _read_back(tables, state, error)
    newer = tuple(_newer(tables, newest, state))
    if _is_among(change, newer):
        return newest
    raise _fenced(state, change, newest, newer) from error


def _fenced(state: TableState, change: Change, newest: TableState, newer: tuple[Snapshot, ...]) -> Fenced:
    other = next((snapshot.provenance for snapshot in reversed(newer) if snapshot.provenance), None)
    winner = f"run {other.run_id} ({other.flow})" if other else "another writer"
    return Fenced(
        f"{state.name}: {winner} committed first: it is at snapshot {newest.snapshot}, run {change.provenance.run_id} "
        f"({change.provenance.flow}) had read {state.snapshot}",
        "run again: the next run starts from the newer snapshot",
    )


def _resolve(tables: Format, state: TableState, change: Change, error: Exception) -> tuple[TableState, bool]:
    newest = _read_back(tables, state, error)
    newer = tuple(_newer(tables, newest, state))
    if _is_among(change, newer):
        return newest, True
    if _is_full(error):
        raise StorageFull(f"{state.name}: no space left for the commit", "free space, then run again") from error
    if isinstance(error, DataLabError):
        raise error
    if newer:  # whatever failed, it started from what is not the newest any more, and may be gone
        raise _fenced(state, change, newest, newer) from error
    raise CommitFailed(
        f"{state.name}: the commit did not land: {_said(error)}", "run again once storage answers"
    ) from error


def _read_back(tables: Format, state: TableState, error: Exception) -> TableState:
    try:
        newest = tables.load(state.name)
    except Exception as second:  # noqa: BLE001 - whatever it says, nothing is known
        raise CommitUnknown(
            f"{state.name}: the commit may or may not have landed: {_said(error)}; nor can it be read: {_said(second)}",
            f"once storage answers, datalab data history {state.name} shows whether it did; a new run finds out itself",
        ) from error
    if newest is None:
        raise CommitFailed(f"{state.name} is gone", "datalab data list shows the tables that exist") from error
    return newest


def _newer(tables: Format, newest: TableState, state: TableState) -> Iterator[Snapshot]:
    if newest.snapshot == state.snapshot:
        return
    history = tables.history(newest)
    known = [index for index, snapshot in enumerate(history) if snapshot.id == state.snapshot]
    yield from history[known[-1] + 1 :] if known else history


def _is_among(change: Change, snapshots: tuple[Snapshot, ...]) -> bool:
    ours = change.provenance.commit_id
    return any(snapshot.provenance and snapshot.provenance.commit_id == ours for snapshot in snapshots)


@contextmanager
def storage_errors(name: TableName, doing: str) -> Iterator[None]:
    """A block whose foreign errors become StorageFull or LakeError, with what was being done to which table."""
    try:
        yield
    except (DataLabError, Overtaken):
        raise
    except Exception as error:
        if _is_full(error):
            raise StorageFull(f"{name}: no space left while {doing}", "free space, then run again") from error
        raise LakeError(f"{name}: storage failed while {doing}: {_said(error)}", "run again") from error


def _said(error: Exception) -> str:
    # Some libraries put a stack trace behind the first line.
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error).lower() for words in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False
