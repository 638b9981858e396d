"""Upserts of few rows: they are kept in memory, and of the table nothing is read but what they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from datalab.engine.auditing import failed_counts, warned_rows
from datalab.engine.base import Staged, Upsert, Work
from datalab.engine.meeting import keys_met
from datalab.engine.order import Order
from datalab.engine.pruning import KeyRanges, range_columns, ranges_of
from datalab.engine.ranges import sampled_range
from datalab.engine.recording import rewritten
from datalab.engine.relations import FILE, ROW, columns, file_rows, quoted, unmarked
from datalab.engine.rewriting import Existing, Gone, Rewrite, existing_rows, rewrite_places, same_key
from datalab.engine.session import Session
from datalab.engine.staging import FAILED, batch, set_aside
from datalab.engine.writing import Folder, write
from datalab.lake.table import Relation

FEW_ROWS = 300_000
_WINS = quoted("__wins")
_POSITION = (FILE, ROW)


@dataclass(frozen=True)
class Arrived:
    """The rows of a batch in a table, with their mask; how many there are, and how many failed which check.

    Of those that may enter: how many hashes their keys have, and the ranges of the keys.
    """

    table: str
    rows: int
    rejected: int
    failed: dict[str, int]
    different: int
    ranges: KeyRanges


@dataclass(frozen=True)
class Latest:
    """One row of each key: a table, or a query in brackets, and how many there are."""

    rows: str
    count: int


@dataclass(frozen=True)
class Met:
    """A table with the places of the present rows of a batch's keys, and how many there are in each file.

    `lost`: of how many the new row is not greater. `tied`: the files of those where the sequence does not decide.
    """

    table: str
    places: Mapping[str, int]
    lost: int
    tied: frozenset[str]


def is_small(work: Work) -> bool:
    """Whether an upsert reads few rows, into a table whose files can be read as they are."""
    read = work.query.relations.values()
    plain = work.current is None or (work.current.scan is None and work.current.memory is None)
    return plain and all(relation.scan is None for relation in read) and sum(each.rows for each in read) <= FEW_ROWS


def upsert_few(session: Session, folder: Folder, work: Work, mode: Upsert) -> Staged:
    """Find the present rows of the batch's keys, decide by their sequence, and write the files of those that lost."""
    names = columns(work.target.schema.names)
    arrived = arrived_rows(session, work, mode.keys)
    order = Order.of(work, mode)
    latest = _latest(session, order, arrived, names)
    ranges = replace(arrived.ranges, count=latest.count)
    existing = existing_rows(session, work.current, f"SELECT * FROM {latest.rows}", mode.keys, ranges)
    met = _met(session, order, latest.rows, existing) if existing else None
    winners, won = _winners(session, order, latest, met)
    plus = f"SELECT {names} FROM {winners}" if won else ""
    if existing and met:
        every = winners == latest.rows
        gone = Gone(_POSITION, met.table if every else _gone(session, order, winners, met), work.record)
        found = met.places if every else None
        change = rewrite_places(session, folder, work.target, existing, gone, plus, found)
    else:
        change = only_new(session, folder, work, plus, won)
    rejected = rejected_rows(session, work, arrived)
    lost = arrived.rows - arrived.rejected - won
    done = Staged((), change.removed, arrived.rows, won, lost, rejected, arrived.failed)
    looked_for = keys_met(session, f"SELECT {columns(mode.keys)} FROM {latest.rows}", mode.keys)
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


def arrived_rows(session: Session, work: Work, keys: tuple[str, ...]) -> Arrived:
    """The rows of a batch in a temporary table, judged and counted in one statement."""
    source = batch(session, work)
    table = session.table(f"SELECT *, {source.failed or '0'} AS {FAILED} FROM {source.rows}")
    strict, entering = failed_counts(work.checks, FAILED), f" FILTER ({FAILED} = 0)"
    rejected, different = f"count(*) FILTER ({FAILED} <> 0)", f"count(DISTINCT {_hash(keys)}){entering}"
    wanted = ["count(*)", rejected, different, *strict.values(), *range_columns(keys, entering)]
    ((rows, out, hashes, *values),) = session.rows(f"SELECT {', '.join(wanted)} FROM {table}")
    warned = warned_rows(session, work.checks, work.query.now, f"SELECT * FROM {table}")
    failed = dict(zip(strict, values, strict=False))
    ranges = ranges_of(rows - out, values[len(strict) :], keys)
    return Arrived(table, rows, out, {**failed, **warned}, hashes, ranges)


def _hash(keys: Sequence[str]) -> str:
    return f"hash({columns(keys)})"


def _latest(session: Session, order: Order, arrived: Arrived, names: str) -> Latest:
    """Of the rows of each key that may enter the greatest."""
    rows, count = f"SELECT {names} FROM {arrived.table} WHERE {FAILED} = 0", arrived.rows - arrived.rejected
    if arrived.different == count:
        return Latest(f"({rows})", count)
    key = _hash(order.keys)
    twice = session.table(f"SELECT h FROM (SELECT {key} AS h FROM ({rows})) GROUP BY h HAVING count(*) > 1")
    again = f"{key} IN (SELECT h FROM {twice})"
    rank = f"row_number() OVER (PARTITION BY {columns(order.keys)} ORDER BY {', '.join(order.descending())})"
    best = f"SELECT * FROM ({rows}) WHERE {again} QUALIFY {rank} = 1"
    return _counted(session, f"SELECT * FROM ({rows}) WHERE NOT ({again}) UNION ALL {best}")


def _counted(session: Session, rows: str) -> Latest:
    table = session.table(rows)
    ((count,),) = session.rows(f"SELECT count(*) FROM {table}")
    return Latest(table, count)


def _met(session: Session, order: Order, latest: str, existing: Existing) -> Met | None:
    """The present rows of the batch's keys: their place, and whether the new row is greater. None without any."""
    same = same_key(order.keys, "new", "old", existing.given)
    place = f"old.{FILE}, old.{ROW}"
    found = (
        f"SELECT {columns(order.keys, 'new')}, {place}, {order.later('new', 'old')} AS {_WINS} "
        f"FROM {existing.all_rows} old JOIN {latest} new ON {same}"
    )
    met = _by_file(session, session.table(unmarked(found, existing.files)))
    if not met.tied:
        return met if met.places else None
    files = [file for file in existing.files if file.path in met.tied]
    ties = (
        f"SELECT {place}, {order.greater('new', 'old')} AS greater "
        f"FROM ({file_rows(existing.schema, files, position=True)}) old "
        f"SEMI JOIN (SELECT * FROM {met.table} WHERE {_WINS} IS NULL) tied ON {same_key(_POSITION, 'old', 'tied')} "
        f"JOIN {latest} new ON {same}"
    )
    decided = f"coalesce(met.{_WINS}, ties.greater) AS {_WINS}"
    whole = session.table(
        f"SELECT met.* REPLACE ({decided}) FROM {met.table} met "
        f"LEFT JOIN ({ties}) ties ON {same_key(_POSITION, 'met', 'ties')}"
    )
    return _by_file(session, whole)


def _by_file(session: Session, table: str) -> Met:
    told = session.rows(
        f"SELECT {FILE}, count(*), count(*) FILTER (NOT {_WINS}), count(*) FILTER ({_WINS} IS NULL) "
        f"FROM {table} GROUP BY {FILE}"
    )
    places = {path: count for path, count, _, _ in told}
    return Met(table, places, sum(lost for *_, lost, _ in told), frozenset(path for path, *_, tied in told if tied))


def _winners(session: Session, order: Order, latest: Latest, met: Met | None) -> tuple[str, int]:
    """The rows that enter, and how many there are."""
    if met is None or not met.lost:
        return latest.rows, latest.count
    losing = f"SELECT * FROM {met.table} WHERE NOT {_WINS}"
    same = same_key(order.keys, "new", "old")
    entering = _counted(session, f"SELECT * FROM {latest.rows} new ANTI JOIN ({losing}) old ON {same}")
    return entering.rows, entering.count


def _gone(session: Session, order: Order, winners: str, met: Met) -> str:
    """The places of the rows that winners replace."""
    same = same_key(order.keys, "met", "new")
    return session.table(f"SELECT {FILE}, {ROW} FROM {met.table} met SEMI JOIN {winners} new ON {same}")
