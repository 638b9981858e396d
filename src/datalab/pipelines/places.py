"""Where the rows of groups lie in the large files of a view, kept beside them: few are found without the others.

What is kept tells of whole data files where each key is in them. Data files never change, so it holds whatever became
of the table; a file that it does not know, or knows with another number of rows, is searched as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from datalab.engine.base import Mode, Places, Query, ReplaceGroups
from datalab.engine.relations import FILE, ROW
from datalab.lake.beside import STATE
from datalab.lake.hashed import LARGE, Hashed, file_id, is_hashable, with_hashes, write_hashed
from datalab.lake.table import DataFile, Relation, TableState
from datalab.pipelines.context import Context

PLACES = "places"
_FILES = "files"
_TABLE = "rows_to_place"


def placed(mode: Mode, kept: Hashed | None, touched: pa.Table | None, current: Relation | None) -> Mode:
    """The mode with the places of the rows of touched groups, in those files where they are known."""
    if not isinstance(mode, ReplaceGroups) or kept is None or touched is None:
        return mode
    if current is None or current.scan is not None:
        return mode
    numbers = {file: number for number, file in enumerate(kept.files)}
    paths = {numbers[file_id(file)]: file.path for file in current.files if file_id(file) in numbers}
    key = mode.keys[0]
    wanted = touched.column(0).cast(kept.rows.schema.field(key).type).combine_chunks()
    near = with_hashes(kept.rows, pa.chunked_array([wanted]))
    ours = pc.is_in(near.column(key), value_set=wanted)
    live = pc.is_in(near.column(_FILES), value_set=pa.array(list(paths), pa.int32()))
    found = near.filter(pc.and_(ours, live))
    files = pa.array([paths[number] for number in found.column(_FILES).to_pylist()], pa.string())
    rows = pa.table({FILE: files, ROW: found.column(ROW)})
    return replace(mode, places=Places(rows, frozenset(paths.values())))


def renewed(
    context: Context, state: TableState, keys: tuple[str, ...], kept: Hashed | None, live: Iterable[DataFile]
) -> DataFile | None:
    """What tells the places of groups in the files that are live from now on, made anew where one of them is unknown.

    None where the present will do, or none is of use: only in tables whose rows are marked does a row keep its place.
    The first change of a view makes it, not the run before over all rows: there may be no change.
    """
    if len(keys) != 1 or not state.target().mark_rows or not is_hashable(state.schema.field(keys[0]).type):
        return None
    large = [file for file in map(_whole, live) if file.rows >= LARGE]
    unknown = {file_id(file) for file in large} - set(kept.files if kept else ())
    return _made(context, state, keys[0], large) if unknown else None


def _made(context: Context, state: TableState, key: str, files: list[DataFile]) -> DataFile:
    parts = []
    for number, file in enumerate(files):
        part = _keys_of(context, state, key, file)
        parts.append(part.append_column(_FILES, pa.repeat(pa.scalar(number, pa.int32()), part.num_rows)))
    rows = pa.concat_tables(parts)
    return write_hashed(state.name, f"{state.target().location}/{STATE}", rows.column(key), rows, files)


def _keys_of(context: Context, state: TableState, key: str, file: DataFile) -> pa.Table:
    """The keys of one file: to tell the file of each row as well, its path would have to be made for every row."""
    source = Relation(pa.schema([state.schema.field(key)]), (file,), located=True)
    tree = exp.select(exp.column(key, quoted=True), exp.column(ROW, quoted=True)).from_(_TABLE)
    return context.engine.read(Query(tree, {_TABLE: source}, context.now, str(state.name))).read_all()


def _whole(file: DataFile) -> DataFile:
    """A file with the rows that are marked as gone: a restored snapshot may have them again."""
    return replace(file, rows=file.rows + sum(marks.rows for marks in file.gone), gone=())
