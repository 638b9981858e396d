"""Upserts of few rows: they are kept in memory, and of the table nothing is read but what they meet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from datalab.engine.auditing import failed_counts, warned_rows
from datalab.engine.base import Staged, Upsert, Work
from datalab.engine.meeting import keys_met
from datalab.engine.order import Order
from datalab.engine.ranges import sampled_range
from datalab.engine.recording import rewritten
from datalab.engine.relations import FILE, ROW, columns, file_rows, quoted, unmarked
from datalab.engine.rewriting import Existing, Gone, Rewrite, existing_rows, never_null, rewrite_places, same_key
from datalab.engine.session import Session
from datalab.engine.staging import FAILED, batch, set_aside
from datalab.engine.writing import Folder, write
from datalab.lake.table import Relation

FEW_ROWS = 300_000
_WINS = quoted("__wins")
_POSITION = (FILE, ROW)


@dataclass(frozen=True)
class Arrived:
    """The rows of a batch in a table, with their mask; how many there are, and how many failed which check."""

    table: str
    rows: int
    rejected: int
    failed: dict[str, int]


def is_small(work: Work) -> bool:
    """Whether an upsert reads few rows, into a table whose files can be read as they are."""
    read = work.query.relations.values()
    plain = work.current is None or (work.current.scan is None and work.current.memory is None)
    return plain and all(relation.scan is None for relation in read) and sum(each.rows for each in read) <= FEW_ROWS


def upsert_few(session: Session, folder: Folder, work: Work, mode: Upsert) -> Staged:
    """Find the present rows of the batch's keys, decide by their sequence, and write the files of those that lost."""
    names = columns(work.target.schema.names)
    arrived = arrived_rows(session, work)
    order = Order.of(work, mode)
    latest = _latest(session, order, f"SELECT {names} FROM {arrived.table} WHERE {FAILED} = 0")
    existing = existing_rows(session, work.current, f"SELECT * FROM {latest}", mode.keys)
    met = _met(session, order, latest, existing) if existing else ""
    winners, won = _winners(session, order, latest, met)
    plus = f"SELECT {names} FROM {winners}" if won else ""
    if existing and met:
        gone = Gone(_POSITION, _gone(session, order, latest, winners, met), work.record)
        change = rewrite_places(session, folder, work.target, existing, gone, plus)
    else:
        change = only_new(session, folder, work, plus, won)
    rejected = rejected_rows(session, work, arrived)
    lost = arrived.rows - arrived.rejected - won
    done = Staged((), change.removed, arrived.rows, won, lost, rejected, arrived.failed)
    looked_for = keys_met(session, latest, mode.keys)
    return replace(rewritten(session, folder, work.target, done, change, winners), meets=looked_for)


def only_new(session: Session, folder: Folder, work: Work, rows: str, count: int) -> Rewrite:
    """So many new rows written, none of which replaces another."""
    target = work.target
    ranges = sampled_range(session, target, rows) if target.file_rows and count > target.file_rows else ""
    return Rewrite(write(session, rows, target, folder.path, ranges) if count else ())


def rejected_rows(session: Session, work: Work, arrived: Arrived) -> Relation | None:
    """The rows of a batch that may not enter, in files of their own."""
    if not arrived.rejected:
        return None
    return set_aside(session, work.target, f"SELECT * FROM {arrived.table} WHERE {FAILED} <> 0")


def arrived_rows(session: Session, work: Work) -> Arrived:
    """The rows of a batch in a temporary table, judged and counted."""
    source = batch(session, work)
    table = session.table(f"SELECT *, {source.failed or '0'} AS {FAILED} FROM {source.view}")
    count = f"SELECT count(*), count(*) FILTER ({FAILED} <> 0) FROM {table}"
    ((rows, rejected),) = session.rows(count)
    failed = failed_counts(session, work.checks, FAILED, table)
    warned = warned_rows(session, work.checks, work.query.now, f"SELECT * FROM {table}")
    return Arrived(table, rows, rejected, {**failed, **warned})


def _latest(session: Session, order: Order, rows: str) -> str:
    """Of the rows of each key the greatest."""
    key = f"hash({columns(order.keys)})"
    twice = session.table(f"SELECT h FROM (SELECT {key} AS h FROM ({rows})) GROUP BY h HAVING count(*) > 1")
    ((repeated,),) = session.rows(f"SELECT count(*) FROM {twice}")
    if not repeated:
        return session.view(rows)
    again = f"{key} IN (SELECT h FROM {twice})"
    rank = f"row_number() OVER (PARTITION BY {columns(order.keys)} ORDER BY {', '.join(order.descending())})"
    best = f"SELECT * FROM ({rows}) WHERE {again} QUALIFY {rank} = 1"
    return session.table(f"SELECT * FROM ({rows}) WHERE NOT ({again}) UNION ALL {best}")


def _met(session: Session, order: Order, latest: str, existing: Existing) -> str:
    """The present rows of the batch's keys: their place, and whether the new row is greater. Empty without any."""
    same = same_key(order.keys, "new", "old", never_null(session, latest, order.keys))
    place = f"old.{FILE}, old.{ROW}"
    found = (
        f"SELECT {columns(order.keys, 'new')}, {place}, {order.later('new', 'old')} AS {_WINS} "
        f"FROM {existing.all_rows} old JOIN {latest} new ON {same}"
    )
    met = session.table(unmarked(found, existing.files))
    tied = f"SELECT DISTINCT {FILE} FROM {met} WHERE {_WINS} IS NULL"
    paths = {path for (path,) in session.rows(tied)}
    if not paths:
        ((rows,),) = session.rows(f"SELECT count(*) FROM {met}")
        return met if rows else ""
    files = [file for file in existing.files if file.path in paths]
    ties = (
        f"SELECT {place}, {order.greater('new', 'old')} AS greater "
        f"FROM ({file_rows(existing.schema, files, position=True)}) old "
        f"SEMI JOIN (SELECT * FROM {met} WHERE {_WINS} IS NULL) tied ON {same_key(_POSITION, 'old', 'tied')} "
        f"JOIN {latest} new ON {same}"
    )
    decided = f"coalesce(met.{_WINS}, ties.greater) AS {_WINS}"
    return session.table(
        f"SELECT met.* REPLACE ({decided}) FROM {met} met "
        f"LEFT JOIN ({ties}) ties ON {same_key(_POSITION, 'met', 'ties')}"
    )


def _winners(session: Session, order: Order, latest: str, met: str) -> tuple[str, int]:
    """The rows that enter, and how many there are."""
    losing = f"SELECT * FROM {met} WHERE NOT {_WINS}"
    ((lost,),) = session.rows(f"SELECT count(*) FROM ({losing})") if met else ((0,),)
    winners = latest
    if lost:
        same = same_key(order.keys, "new", "old")
        winners = session.table(f"SELECT * FROM {latest} new ANTI JOIN ({losing}) old ON {same}")
    ((won,),) = session.rows(f"SELECT count(*) FROM {winners}")
    return winners, won


def _gone(session: Session, order: Order, latest: str, winners: str, met: str) -> str:
    """The places of the rows that winners replace."""
    if winners == latest:
        return session.view(f"SELECT {FILE}, {ROW} FROM {met}")
    same = same_key(order.keys, "met", "new")
    return session.table(f"SELECT {FILE}, {ROW} FROM {met} met SEMI JOIN {winners} new ON {same}")
