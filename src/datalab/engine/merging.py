"""Upserts: each key keeps its row of the highest sequence, in whatever order rows arrive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import Places, ReplaceGroups, Staged, Upsert, Work
from datalab.engine.dialect import is_repeatable
from datalab.engine.order import Order
from datalab.engine.ranges import sampled_range
from datalab.engine.recording import rewritten
from datalab.engine.relations import FILE, ROW, columns, file_rows, unmarked
from datalab.engine.rewriting import (
    COPIED,
    Existing,
    Gone,
    Rewrite,
    existing_rows,
    rewrite,
    rewrite_places,
    same_key,
)
from datalab.engine.session import Session
from datalab.engine.staging import (
    CONTESTED,
    Batch,
    Judged,
    audited,
    batch,
    data_files,
    fitted,
    land,
    staged,
)
from datalab.engine.upserting import is_small, upsert_few
from datalab.engine.writing import ACCEPTED, BUCKET, SCRATCH, Folder, write
from datalab.lake.table import Relation, WriteTarget


@dataclass(frozen=True)
class Contest:
    """Tables of key hashes: `twice` in the batch, `met` in the table; the number of both; the table's rows.

    `ranges` tells the file that a new row belongs to.
    """

    twice: str
    met: str
    rows: int
    existing: Existing | None
    ranges: str


_COSTLY = (exp.Join, exp.Group, exp.Distinct, exp.Window, exp.AggFunc, exp.SetOperation, exp.Lateral)


def upsert(session: Session, folder: Folder, work: Work, mode: Upsert) -> Staged:
    """Few rows are taken into memory. Of many, those whose key occurs once go straight to the table's files.

    Only contested keys are compared, and only files that hold a row that lost are written again.
    """
    if is_small(work):
        return upsert_few(session, folder, work, mode)
    source = _computed_once(session, work, batch(session, work))
    contest = _contest(session, work, source, mode)
    rows = _routed(source, mode, contest) if contest.rows else audited(source)
    landing = land(session, folder, work, rows, contest.ranges)
    if not landing.contested:
        return staged(landing, folder.keep(landing.accepted))
    incoming = file_rows(work.target.schema, data_files(landing.contested))
    winners = session.table(_winners(session, Order.of(work, mode), incoming, contest))
    ((won,),) = session.rows(f"SELECT count(*) FROM {winners}")
    plus = f"SELECT * FROM {winners}" if won else ""
    change = rewrite(session, folder, work.target, contest.existing, Gone(mode.keys, winners, work.record), plus)
    lost = sum(written.file.rows for written in landing.contested) - won
    done = staged(landing, folder.keep(landing.accepted), change.removed, lost)
    return rewritten(session, folder, work.target, done, change, winners)


def replace_groups(session: Session, folder: Folder, work: Work, mode: ReplaceGroups) -> Staged:
    """The touched groups leave, by rewriting the files that hold any of their rows; the query's rows enter."""
    schema = work.target.schema
    keys = fitted(session, mode.touched, pa.schema([schema.field(key) for key in mode.keys]))
    touched = session.table(f"SELECT DISTINCT * FROM ({keys})")
    light = replace(work, target=replace(work.target, compression=COPIED))
    change = _without(session, folder, light, Gone(mode.keys, touched, work.record), mode.places)
    landing = land(session, folder, work, audited(batch(session, work)))
    done = staged(landing, folder.keep(landing.accepted), change.removed)
    return rewritten(session, folder, work.target, done, change)


def _without(session: Session, folder: Folder, work: Work, gone: Gone, known: Places | None) -> Rewrite:
    """The rows of keys leave: by their places, where the table's files are known."""
    searched = known.files if known and work.current else frozenset()
    there = [file for file in work.current.files if file.path in searched] if work.current else []
    existing = existing_rows(session, _others(work.current, searched), f"SELECT * FROM {gone.table}", gone.keys)
    if not there and (existing is None or not existing.split):
        return rewrite(session, folder, work.target, existing, gone)
    parts = [f"SELECT {FILE}, {ROW} FROM {session.registered(known.rows)}"] if there and known else []
    if existing:
        same = same_key(gone.keys, "old", "gone", existing.given)
        parts.append(f"SELECT {FILE}, {ROW} FROM {existing.all_rows} old SEMI JOIN {gone.table} gone ON {same}")
        there += existing.files
    found = session.table(unmarked(" UNION ALL ".join(parts), there))
    rows = f"({file_rows(work.target.schema, there, position=True)})"
    whole = Existing(rows, tuple(there), work.target.schema)
    return rewrite_places(session, folder, work.target, whole, Gone((FILE, ROW), found, gone.record))


def _others(current: Relation | None, searched: Collection[str]) -> Relation | None:
    if current is None or not searched:
        return current
    return replace(current, files=tuple(file for file in current.files if file.path not in searched))


def _computed_once(session: Session, work: Work, source: Batch) -> Batch:
    """A batch is read twice (keys, then rows): a costly or non-deterministic query is kept in files first."""
    tree = work.query.tree
    if not tree.find(*_COSTLY) and is_repeatable(tree):
        return source
    target = WriteTarget(work.target.name, "", work.target.schema, compression=SCRATCH)
    files = write(session, f"SELECT * FROM {source.rows}", target, session.folder())
    return Batch(f"({file_rows(work.target.schema, data_files(files))})", source.failed)


def _hash(keys: Sequence[str]) -> str:
    return f"hash({columns(keys)})"


def _contest(session: Session, work: Work, source: Batch, mode: Upsert) -> Contest:
    """Which keys have to be decided on.

    Keys that merely share a hash, or occur twice because of a row that fails its checks, are among them: that does no
    harm, and the checks' columns need not be read for it.
    """
    hashes = f"SELECT {_hash(mode.keys)} AS h FROM {source.rows}"
    twice = session.table(f"SELECT h FROM ({hashes}) GROUP BY h HAVING count(*) > 1")
    passed = f" WHERE {source.failed} = 0" if source.failed else ""
    keys = f"SELECT {columns(mode.keys)} FROM {source.rows}{passed}"
    existing = existing_rows(session, work.current, keys, mode.keys)
    met = "SELECT NULL::UBIGINT AS h WHERE false"
    if existing:
        present = f"SELECT {_hash(mode.keys)} AS h FROM {existing.rows}"
        met = f"SELECT DISTINCT h FROM ({hashes}) batch SEMI JOIN ({present}) present USING (h)"
    met = session.table(met)
    ((rows,),) = session.rows(f"SELECT (SELECT count(*) FROM {twice}) + (SELECT count(*) FROM {met})")
    ranges = sampled_range(session, work.target, f"SELECT * FROM {source.rows}")
    return Contest(twice, met, rows, existing, ranges)


def _routed(source: Batch, mode: Upsert, contest: Contest) -> Judged:
    rejected = f"WHEN {source.failed} <> 0 THEN {source.failed} " if source.failed else ""
    contested = f"SELECT h FROM {contest.twice} UNION ALL SELECT h FROM {contest.met}"
    decide = f"WHEN {_hash(mode.keys)} IN ({contested}) THEN {CONTESTED}"
    return Judged(
        f"SELECT *, CASE {rejected}{decide} ELSE {ACCEPTED} END AS {BUCKET} FROM {source.rows}", bucketed=True
    )


def _winners(session: Session, order: Order, incoming: str, contest: Contest) -> str:
    """Of the incoming rows that meet under a key the greatest, where it is greater than the table's own row."""
    again = f"{_hash(order.keys)} IN (SELECT h FROM {contest.twice})"
    rank = f"row_number() OVER (PARTITION BY {columns(order.keys)} ORDER BY {', '.join(order.descending())})"
    best = f"SELECT * FROM ({incoming}) WHERE {again} QUALIFY {rank} = 1"
    latest = session.view(f"SELECT * FROM ({incoming}) WHERE NOT ({again}) UNION ALL {best}")
    if contest.existing is None:
        return f"SELECT * FROM {latest}"
    met = f"SELECT * FROM {contest.existing.rows} WHERE {_hash(order.keys)} IN (SELECT h FROM {contest.met})"
    same = same_key(order.keys, "new", "old")
    lost = session.table(
        f"SELECT {columns(order.keys, 'new')} FROM ({met}) old JOIN {latest} new ON {same} "
        f"WHERE NOT ({order.greater('new', 'old')})"
    )
    return f"SELECT * FROM {latest} new ANTI JOIN {lost} old ON {same}"
