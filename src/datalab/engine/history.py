"""Tables that keep history: a key's rows become versions with a beginning and an end, in whatever order they arrive."""

from __future__ import annotations

from dataclasses import replace

from datalab.engine.base import History, Staged, Work
from datalab.engine.meeting import keys_met
from datalab.engine.order import Order, sort_key
from datalab.engine.recording import rewritten
from datalab.engine.relations import FILE, ROW, columns, quoted
from datalab.engine.rewriting import Existing, Gone, existing_rows, rewrite_places, same_key
from datalab.engine.session import TOMBSTONE, Session
from datalab.engine.staging import FAILED
from datalab.engine.upserting import arrived_rows, only_new, rejected_rows
from datalab.engine.writing import Folder
from datalab.errors import NotSupported
from datalab.names import VERSION_COLUMNS

_START, _END = map(quoted, VERSION_COLUMNS)
_CLOSES, _HIDDEN = quoted("__closes"), quoted(TOMBSTONE)
_DERIVED = (*VERSION_COLUMNS, TOMBSTONE)
_POSITION = (FILE, ROW)


def keep_history(session: Session, folder: Folder, work: Work, mode: History) -> Staged:
    """The versions of the batch's keys are made anew from all their rows; only rows that differ are written."""
    names = columns(work.target.schema.names)
    arrived = arrived_rows(session, work, mode.keys)
    new = session.view(f"SELECT {names} FROM {arrived.table} WHERE {FAILED} = 0")
    keys = f"SELECT {columns(mode.keys)} FROM {new}"
    existing = existing_rows(session, work.current, keys, mode.keys, arrived.ranges)
    old = _old(session, mode, names, new, existing)
    made = session.table(_versions(work, mode, names, new, old))
    changed = session.table(f"SELECT * FROM {made} WHERE {FILE} IS NULL OR __moved")
    ((won, count),) = session.rows(f"SELECT count(*) FILTER (__new), count(*) FROM {changed}")
    rows = f"SELECT {names} FROM {changed}" if count else ""
    if existing and old:
        kept = f"SELECT {columns(_POSITION)} FROM {made} WHERE NOT __new AND NOT __moved"
        same = same_key(_POSITION, "old", "kept")
        gone = session.table(f"SELECT {columns(_POSITION)} FROM {old} old ANTI JOIN ({kept}) kept ON {same}")
        change = rewrite_places(session, folder, work.target, existing, Gone(_POSITION, gone, work.record), rows)
    else:
        change = only_new(session, folder, work, rows, count)
    lost = arrived.rows - arrived.rejected - won
    rejected = rejected_rows(session, work, arrived)
    done = Staged((), change.removed, arrived.rows, won, lost, rejected, arrived.failed)
    looked_for = keys_met(session, f"SELECT DISTINCT {columns(mode.keys)} FROM {new}", mode.keys)
    return replace(rewritten(session, folder, work.target, done, change, changed), meets=looked_for)


def _old(session: Session, mode: History, names: str, new: str, existing: Existing | None) -> str:
    """All present rows of the batch's keys, with their place; empty without any."""
    if existing is None:
        return ""
    if not existing.split:
        raise NotSupported("the DuckDB engine", "history in a table whose rows were deleted by position", "compact it")
    same = same_key(mode.keys, "old", "new")
    place = columns(_POSITION)
    old = session.table(f"SELECT {names}, {place} FROM {existing.rows} old SEMI JOIN {new} new ON {same}")
    ((rows,),) = session.rows(f"SELECT count(*) FROM {old}")
    return old if rows else ""


def _versions(work: Work, mode: History, names: str, new: str, old: str) -> str:
    """One row per key and sequence with the bounds of its version; `__moved`: it says something else than before."""
    moment = sort_key((mode.sequence,))
    both = f"SELECT {names}, NULL::VARCHAR AS {FILE}, NULL::BIGINT AS {ROW}, true AS __new FROM {new}"
    if old:
        both += f" UNION ALL SELECT {names}, {columns(_POSITION)}, false AS __new FROM {old}"
    key, sequence = columns(mode.keys), quoted(mode.sequence)
    order = Order.of(work, mode, _DERIVED)
    rank = f"row_number() OVER (PARTITION BY {key}, {sequence} ORDER BY {', '.join(order.descending('__new'))})"
    single = f"SELECT * FROM ({both}) QUALIFY {rank} = 1"
    along = f"PARTITION BY {key} ORDER BY {moment}"
    tracked = sort_key(mode.tracked) if mode.tracked else "0"
    begins = (
        f"{_CLOSES} OR lag({_CLOSES}, 1, true) OVER moments OR {tracked} IS DISTINCT FROM lag({tracked}) OVER moments"
    )
    marked = f"SELECT *, CASE WHEN {begins} THEN 1 ELSE 0 END AS __begins FROM ({single}) WINDOW moments AS ({along})"
    numbered = f"SELECT *, sum(__begins) OVER ({along}) AS __run FROM ({marked})"
    bounded = (
        f"SELECT *, first({sequence}) OVER (PARTITION BY {key}, __run ORDER BY {moment}) AS __first, "
        f"lead({sequence}) OVER moments AS __next, "
        f"{_CLOSES} OR coalesce(lead(__run) OVER moments = __run, false) AS __hides "
        f"FROM ({numbered}) WINDOW moments AS ({along})"
    )
    start, end = f"CASE WHEN __hides THEN {sequence} ELSE __first END", "CASE WHEN NOT __hides THEN __next END"
    moved = (
        f"NOT __new AND ({start} IS DISTINCT FROM {_START} OR {end} IS DISTINCT FROM {_END} "
        f"OR __hides IS DISTINCT FROM {_HIDDEN})"
    )
    derived = f"{start} AS {_START}, {end} AS {_END}, __hides AS {_HIDDEN}"
    return f"SELECT * REPLACE ({derived}), {moved} AS __moved FROM ({bounded})"
