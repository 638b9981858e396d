"""Upserts: each key keeps its row of the highest sequence, in whatever order rows arrive."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import exp

from datalab.engine.base import ReplaceGroups, Staged, Upsert, Work
from datalab.engine.dialect import is_repeatable
from datalab.engine.pruning import key_ranges
from datalab.engine.relations import columns, file_rows, quoted
from datalab.engine.rewriting import Existing, Gone, existing_rows, rewrite
from datalab.engine.session import Session
from datalab.engine.staging import (
    CONTESTED,
    Batch,
    audited,
    batch,
    data_files,
    fitted,
    land,
    staged,
)
from datalab.engine.writing import BUCKET, Folder, write
from datalab.lake.table import WriteTarget

_COSTLY = (exp.Join, exp.Group, exp.Distinct, exp.Window, exp.AggFunc, exp.SetOperation, exp.Lateral)


def upsert(session: Session, folder: Folder, work: Work, mode: Upsert) -> Staged:
    """Rows whose key occurs once, in the batch and not in the table, go straight to the table's files.

    Only contested keys are compared, and only files that hold a row that lost are written again.
    """
    source = _computed_once(session, work, batch(session, work))
    existing, contested = _contested(session, work, source, mode)
    landing = land(session, folder, work, _routed(source, mode, contested) if contested else audited(source))
    if not landing.contested:
        return staged(landing, folder.keep(landing.accepted))
    incoming = file_rows(work.target.schema, data_files(landing.contested))
    winners = session.table(_winners(work, mode, incoming, _met(existing, mode, contested)))
    ((won,),) = session.rows(f"SELECT count(*) FROM {winners}")
    plus = f"SELECT * FROM {winners}" if won else ""
    change = rewrite(session, folder, work.target, existing, Gone(mode.keys, winners), plus)
    lost = sum(written.file.rows for written in landing.contested) - won
    return staged(landing, folder.keep((*landing.accepted, *change.files)), change.removed, lost)


def replace_groups(session: Session, folder: Folder, work: Work, mode: ReplaceGroups) -> Staged:
    """The touched groups leave, by rewriting the files that hold any of their rows; the query's rows enter."""
    schema = work.target.schema
    keys = fitted(session, mode.touched, pa.schema([schema.field(key) for key in mode.keys]))
    touched = session.table(f"SELECT DISTINCT * FROM ({keys})")
    existing = existing_rows(session, work.current, key_ranges(session, f"SELECT * FROM {touched}", mode.keys))
    change = rewrite(session, folder, work.target, existing, Gone(mode.keys, touched))
    landing = land(session, folder, work, audited(batch(session, work)))
    return staged(landing, folder.keep((*landing.accepted, *change.files)), change.removed)


def _computed_once(session: Session, work: Work, source: Batch) -> Batch:
    """A batch is read twice (keys, then rows): a costly or non-deterministic query is kept in files first."""
    tree = work.query.tree
    if not tree.find(*_COSTLY) and is_repeatable(tree):
        return source
    target = WriteTarget(work.target.name, "", work.target.schema)
    files = write(session, f"SELECT * FROM {source.view}", target, session.folder())
    return Batch(session.view(file_rows(work.target.schema, data_files(files))), source.failed)


def _hash(mode: Upsert) -> str:
    return f"hash({columns(mode.keys)})"


def _contested(session: Session, work: Work, source: Batch, mode: Upsert) -> tuple[Existing | None, str]:
    """Rows of the table that the batch may meet, and a table of the key hashes to decide on ('' if there are none).

    Keys that merely share a hash are compared too, which does no harm.
    """
    passed = f" WHERE {source.failed} = 0" if source.failed else ""
    keys = f"SELECT {columns(mode.keys)} FROM {source.view}{passed}"
    hashes = f"SELECT {_hash(mode)} AS h FROM ({keys})"
    contested = f"SELECT h FROM ({hashes}) GROUP BY h HAVING count(*) > 1"
    ranges = key_ranges(session, keys, mode.keys) if work.current and work.current.rows else {}
    existing = existing_rows(session, work.current, ranges)
    if existing:
        present = f"SELECT {_hash(mode)} AS h FROM {existing.view}"
        contested += f" UNION SELECT h FROM ({hashes}) batch SEMI JOIN ({present}) present USING (h)"
    table = session.table(contested)
    ((count,),) = session.rows(f"SELECT count(*) FROM {table}")
    return existing, table if count else ""


def _routed(source: Batch, mode: Upsert, contested: str) -> str:
    rejected = f"WHEN {source.failed} <> 0 THEN {source.failed} " if source.failed else ""
    decide = f"WHEN {_hash(mode)} IN (SELECT h FROM {contested}) THEN {CONTESTED}"
    return f"SELECT *, CASE {rejected}{decide} ELSE 0 END AS {BUCKET} FROM {source.view}"


def _met(existing: Existing | None, mode: Upsert, contested: str) -> str:
    if existing is None:
        return ""
    return f"SELECT * FROM {existing.view} WHERE {_hash(mode)} IN (SELECT h FROM {contested})"


def _winners(work: Work, mode: Upsert, incoming: str, present: str) -> str:
    """Of all rows that meet under a key the one that stays, where it is an incoming one.

    The order is total: sequence, then every column in the table's order, NULL lowest; then the table's own row.
    """
    names = work.target.schema.names
    rows = f"SELECT {columns(names)}, true AS __incoming FROM ({incoming})"
    if present:
        rows += f" UNION ALL SELECT {columns(names)}, false FROM ({present})"
    compared = [name for name in names if name != mode.sequence and name not in mode.ignore_in_ties]
    order = [f"{_sort_key([mode.sequence, *compared])} DESC", "__incoming"]
    if mode.ignore_in_ties:
        order.append(f"{_sort_key(mode.ignore_in_ties)} DESC")
    rank = f"row_number() OVER (PARTITION BY {columns(mode.keys)} ORDER BY {', '.join(order)})"
    best = f"SELECT * FROM ({rows}) QUALIFY {rank} = 1"
    return f"SELECT {columns(names)} FROM ({best}) WHERE __incoming"


def _sort_key(names: list[str] | tuple[str, ...]) -> str:
    parts = ", ".join(f"{quoted(name)}, 'ASC NULLS FIRST'" for name in names)
    return f"create_sort_key({parts})"
