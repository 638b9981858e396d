"""Rows of given keys leave: the files that hold them are written again without, or the rows marked by position."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datalab.engine.copying import copied, copyable
from datalab.engine.marking import markable, marked
from datalab.engine.pruning import KeyRanges, files_with_keys, key_ranges
from datalab.engine.ranges import MAX_RANGES, in_order, range_of_files, sampled_range
from datalab.engine.relations import FILE, ROW, columns, file_rows, quoted, with_marked
from datalab.engine.session import Session
from datalab.engine.writing import ACCEPTED, BUCKET, ENTERED, LEFT, Folder, Written, write
from datalab.lake.table import DataFile, Marking, Relation, WriteTarget

if TYPE_CHECKING:
    import pyarrow as pa


RECORDED_ROWS = 1_000_000
COPIED = "snappy"  # what is written again at every change: a fifth less work than zstd


@dataclass(frozen=True)
class Existing:
    """Rows of a table that a change may meet: a query in brackets that tells the file of each row, and the files.

    Not `split`: the rows come out of the format's own scan, which does not tell their files. `all_rows` is a query that
    has the rows that are marked as gone, too: what is found in it has to go through `unmarked`. `given`: those of the
    keys that have a value in every row of the change.
    """

    rows: str
    files: tuple[DataFile, ...]
    schema: pa.Schema
    split: bool = True
    all_rows: str = ""
    given: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Gone:
    """Rows that leave a table: those whose key columns equal a row of the named table or view, NULLs included.

    Or the places of such rows: then the keys are `__file` and `__row`. No two rows of the table, or few, have the same
    key. `record`: the rows that leave are wanted, if they are few.
    """

    keys: tuple[str, ...]
    table: str
    record: bool = False


@dataclass(frozen=True)
class Rewrite:
    """New files, and the old ones that they replace.

    The rows that came and went are in `sides`, where they were written in the same pass; or else those that are gone
    are in a table named by `left`, if it was made. Files of new rows alone are in `own`; `marked` files stay.
    """

    files: tuple[Written, ...] = ()
    removed: tuple[DataFile, ...] = ()
    left: str = ""
    sides: tuple[Written, ...] | None = None
    own: tuple[Written, ...] = ()
    marked: tuple[Marking, ...] = ()


@dataclass(frozen=True)
class Hit:
    """Files to be written again, of the rows that a change may meet, and how many rows leave them."""

    existing: Existing
    files: tuple[DataFile, ...]
    leaving: int


def existing_rows(
    session: Session, current: Relation | None, rows: str, keys: Sequence[str], known: KeyRanges | None = None
) -> Existing | None:
    """The rows of the files that may hold a key of the query `rows`, or of `known` ranges; None if there are none."""
    if current is None or not current.rows:
        return None
    if current.scan is not None or current.memory is not None:
        whole = f"SELECT *, CAST(NULL AS VARCHAR) AS {FILE} FROM ({session.relation(current)})"
        return Existing(f"({whole})", current.files, current.schema, split=False)
    ranges = known or key_ranges(session, rows, keys)
    files = files_with_keys(session, rows, ranges, current.files, current.schema)
    if not files:
        return None
    found = f"({file_rows(current.schema, files, position=True)})"
    marked_too = any(file.gone for file in files)
    every = f"({file_rows(current.schema, with_marked(files), position=True)})" if marked_too else found
    given = frozenset(key for key, wanted in ranges.keys.items() if not wanted.has_null)
    return Existing(found, files, current.schema, all_rows=every, given=given)


def same_key(keys: Sequence[str], left: str, right: str, given: Collection[str] = ()) -> str:
    """A join condition: all keys are equal, NULL equal to NULL.

    Keys that are `given`, never NULL on one side, are compared plainly: only then does DuckDB leave out row groups by
    them.
    """
    words = {key: "=" if key in given else "IS NOT DISTINCT FROM" for key in keys}
    return " AND ".join(f"{left}.{quoted(key)} {word} {right}.{quoted(key)}" for key, word in words.items())


def rewrite(
    session: Session, folder: Folder, target: WriteTarget, existing: Existing | None, gone: Gone, plus: str = ""
) -> Rewrite:
    """Write the files that hold rows of `gone` again without them; the rows of the query `plus` are added."""
    left = leaving(session, existing, gone) if existing and gone.record else ""
    hit = _hit_files(session, existing, gone, left) if existing else ()
    if not hit:
        return Rewrite(write(session, plus, target, folder.path) if plus else ())
    assert existing is not None
    written: list[Written] = []
    for files, part in _portions(target, existing, hit):
        same = same_key(gone.keys, "kept", "gone")
        rows = _rows_of(existing, files)
        kept = f"SELECT {columns(target.schema.names)} FROM {rows} kept ANTI JOIN {gone.table} gone ON {same}"
        both = f"{kept} UNION ALL SELECT * FROM ({plus}) WHERE {part}" if plus else kept
        written += write(session, both, target, folder.path, range_of_files(target, files))
    return Rewrite(tuple(written), hit, left)


def rewrite_places(
    session: Session,
    folder: Folder,
    target: WriteTarget,
    existing: Existing,
    gone: Gone,
    plus: str = "",
    found: Mapping[str, int] | None = None,
) -> Rewrite:
    """The same where `gone` has the file and number of each row; `found` tells how many of each file, where known.

    Where the target allows it rows are marked in files that lose few; else large files that lose few are copied. Then
    the new rows get files of their own, or go with what small files hold. Other files are written again: one pass reads
    a file, and writes what is recorded.
    """
    if found is None:
        found = dict(session.rows(f"SELECT {FILE}, count(*) FROM {gone.table} GROUP BY {FILE}"))
    met = tuple(file for file in existing.files if file.path in found)
    few = markable(target, met, found)
    rest = tuple(file for file in met if file not in few)
    again = target if target.mark_rows else replace(target, compression=COPIED)
    copies = copyable(target, rest, found)
    light = tuple(copy.file for copy in copies)
    heavy = tuple(file for file in rest if file not in light)
    hit = Hit(existing, heavy, sum(found[file.path] for file in heavy))
    if few or not heavy:
        own = _own(session, folder, target, plus)
        change = _written_again(session, folder, again, hit, gone) if heavy else Rewrite()
    else:
        own = ()
        ranges = sampled_range(session, target, plus) if copies and plus else ""
        change = _written_again(session, folder, again, hit, gone, plus, ranges)
    if copies:
        change = _with(change, copied(session, folder, again, copies, gone.table, record=gone.record), light)
    return replace(change, own=own, marked=marked(session, folder, few, gone.table))


def _own(session: Session, folder: Folder, target: WriteTarget, plus: str) -> tuple[Written, ...]:
    return write(session, plus, target, folder.path, sampled_range(session, target, plus)) if plus else ()


def _with(change: Rewrite, written: tuple[Written, ...], removed: tuple[DataFile, ...]) -> Rewrite:
    """The change with copies of some files more, and the rows that left these."""
    copies, left = _sorted(written)
    sides = (*(change.sides or ()), *left) if left and (change.sides is not None or not change.removed) else None
    return replace(change, files=(*change.files, *copies), removed=(*change.removed, *removed), sides=sides)


def _written_again(
    session: Session, folder: Folder, target: WriteTarget, hit: Hit, gone: Gone, plus: str = "", ranges: str = ""
) -> Rewrite:
    existing, record = hit.existing, gone.record and hit.leaving <= RECORDED_ROWS
    written: list[Written] = []
    for files, part in _portions(target, existing, hit.files):
        rows = _sorted_out(target, _rows_of(existing, files), gone, record=record)
        if plus:
            sides = f"SELECT *, unnest([{ACCEPTED}{f', {ENTERED}' if record else ''}]) AS {BUCKET} FROM ({plus})"
            rows += f" UNION ALL {sides} WHERE {part}"
        written += write(session, rows, target, folder.path, ranges or range_of_files(target, files), bucketed=True)
    copies, sides_written = _sorted(written)
    return Rewrite(copies, hit.files, sides=sides_written if record else None)


def _sorted(written: Iterable[Written]) -> tuple[tuple[Written, ...], tuple[Written, ...]]:
    """Files that will be the table's, and side files."""
    sides = [each for each in written if each.bucket != ACCEPTED]
    return tuple(each for each in written if each.bucket == ACCEPTED), tuple(sides)


def _sorted_out(target: WriteTarget, rows: str, gone: Gone, *, record: bool) -> str:
    """The rows of files with their bucket: what stays, and what is gone where that is recorded."""
    same = f"old.{ROW} = gone.{ROW} AND old.{FILE} = gone.{FILE}"
    kind = f"CASE WHEN gone.{ROW} IS NULL THEN {ACCEPTED} ELSE {LEFT} END" if record else str(ACCEPTED)
    join = f"LEFT JOIN {gone.table} gone" if record else f"ANTI JOIN {gone.table} gone"
    return f"SELECT {columns(target.schema.names, 'old')}, {kind} AS {BUCKET} FROM {rows} old {join} ON {same}"


def _portions(
    target: WriteTarget, existing: Existing, hit: tuple[DataFile, ...]
) -> Iterator[tuple[tuple[DataFile, ...], str]]:
    """So many files at a time as can be written side by side, with a condition for the new rows that belong to them."""
    files = in_order(target, hit)
    each = range_of_files(target, files)
    if not each or not existing.split or len(files) <= MAX_RANGES:
        yield hit, "true"
        return
    for first in range(0, len(files), MAX_RANGES):
        yield files[first : first + MAX_RANGES], f"({each}) // {MAX_RANGES} = {first // MAX_RANGES}"


def leaving(session: Session, existing: Existing, gone: Gone) -> str:
    """The rows of `gone` in a table of their own, with the file of each; empty where they are too many to keep."""
    ((rows,),) = session.rows(f"SELECT count(*) FROM {gone.table}")
    if rows > RECORDED_ROWS:
        return ""
    same = same_key(gone.keys, "kept", "gone")
    names = columns([*existing.schema.names, FILE])
    return session.table(f"SELECT {names} FROM {existing.rows} kept SEMI JOIN {gone.table} gone ON {same}")


def _hit_files(session: Session, existing: Existing, gone: Gone, left: str) -> tuple[DataFile, ...]:
    same = same_key(gone.keys, "kept", "gone")
    hits = left or f"{existing.rows} kept SEMI JOIN {gone.table} gone ON {same}"
    found = session.rows(f"SELECT DISTINCT {FILE} FROM {hits}")
    paths = {path for (path,) in found}
    return existing.files if None in paths else tuple(file for file in existing.files if file.path in paths)


def _rows_of(existing: Existing, files: tuple[DataFile, ...]) -> str:
    return existing.rows if files == existing.files else f"({file_rows(existing.schema, files, position=True)})"
