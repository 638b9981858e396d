"""What is kept of the groups of a view, in pieces: the newest that has a group counts; without rows it is gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from datalab.lake.hashed import LARGE, Hashed, file_id, is_hashable, trusted, with_hashes, write_hashed
from datalab.lake.mapped import candidates, is_plain, mapped, rows_at, write_mapped
from datalab.lake.table import DataFile, WriteTarget

MOST_PIECES = 16
_SMALL = 10_000
_FEW = 100_000
_PIECE = "_piece"
_NUMBER = "_number"


@dataclass(frozen=True)
class Pieces:
    """Reads and writes the pieces of one view: a first one with all groups, and later ones with those that changed.

    `schema` has the columns `keys`, and `_n`, the rows of a group. `ask` answers a query of the Spark dialect over
    tables in memory.
    """

    place: WriteTarget
    schema: pa.Schema
    keys: tuple[str, ...]
    ask: Callable[..., pa.RecordBatchReader]

    def write(self, groups: pa.Table) -> DataFile:
        """A new piece."""
        return self._written(groups.to_reader())

    def find(self, files: Sequence[DataFile], keys: pa.Table, numbers: Sequence[DataFile] = ()) -> pa.Table:
        """What is kept of the groups of `keys`, and perhaps of others. `numbers`: see `numbered`."""
        near = [self._near(files[0], keys, numbers), *map(mapped, files[1:])]
        first, *later = (candidates(rows, keys) for rows in near)
        rows = first.num_rows + sum(piece.num_rows for piece in later)
        if rows <= _FEW and all(is_plain(self.schema, key) for key in self.keys):
            return self._merged_few(first, later)
        return self._merged(first, later).read_all().cast(self.schema)

    def numbered(self, files: Sequence[DataFile], numbers: Sequence[DataFile]) -> DataFile | None:
        """A new file that tells the rows of a large first piece by the hash of its key; None without need."""
        (key, *others), first = self.keys, files[0]
        if others or first.rows < LARGE or not is_hashable(self.schema.field(key).type):
            return None
        if self._known(first, numbers) is not None:
            return None
        rows = pa.table({_NUMBER: pa.array(range(first.rows), pa.int32())})
        return write_hashed(self.place.name, self.place.location, mapped(first).column(key), rows, (first,))

    def _near(self, file: DataFile, keys: pa.Table, numbers: Sequence[DataFile]) -> pa.Table:
        """Rows of the first piece among which all are that have one of the keys."""
        known = self._known(file, numbers)
        if known is None:
            return mapped(file)
        wanted = keys.column(0).cast(self.schema.field(self.keys[0]).type)
        return rows_at(file, with_hashes(known.rows, wanted).column(_NUMBER).to_pylist())

    def _known(self, first: DataFile, numbers: Sequence[DataFile]) -> Hashed | None:
        known = trusted(numbers)
        return known if known is not None and known.files == (file_id(first),) else None

    def grown(self, files: Sequence[DataFile], groups: pa.Table, emptied: pa.Table) -> tuple[DataFile, ...]:
        """The pieces after a change: `groups` that changed, and the keys of those that have no rows any more.

        The first piece is written again where the others have grown to a quarter of it, or where it is small.
        """
        more = pa.concat_tables([groups, self._without_rows(emptied)])
        first, *later = files
        rows = sum(file.rows for file in later) + more.num_rows
        if first.rows < _SMALL or rows > first.rows // 4:
            return (self._written(self._merged(mapped(first), [*map(mapped, later), more])),)
        if len(files) < MOST_PIECES:
            return (*files, self.write(more))
        return (first, self._written(self._newest([*map(mapped, later), more])))

    def _written(self, rows: pa.RecordBatchReader) -> DataFile:
        return write_mapped(self.place.name, self.place.location, self.schema, rows)

    def _without_rows(self, keys: pa.Table) -> pa.Table:
        known = {**{key: keys.column(key) for key in self.keys}, "_n": pa.repeat(0, keys.num_rows)}
        nothing = pa.nulls(keys.num_rows)
        return pa.table([known.get(field.name, nothing) for field in self.schema], self.schema.names).cast(self.schema)

    def _merged(self, first: pa.Table, later: Sequence[pa.Table]) -> pa.RecordBatchReader:
        later = [piece for piece in later if piece.num_rows]
        if not later:
            return first.to_reader()
        newest = self._newest(later).read_all()
        same = " AND ".join(f"l.{key} <=> f.{key}" for key in self.keys)
        names = ", ".join(self.schema.names)
        text = (
            f"SELECT {names} FROM _first f WHERE NOT EXISTS (SELECT 1 FROM _later l WHERE {same}) "
            f"UNION ALL SELECT {names} FROM _later WHERE _n > 0"
        )
        return self.ask(text, _first=first, _later=newest)

    def _merged_few(self, first: pa.Table, later: Sequence[pa.Table]) -> pa.Table:
        """The same of few rows, whose keys are equal where their bits are: without a query."""
        pieces = pa.concat_tables([piece.select(self.schema.names) for piece in (first, *later)])
        numbered = pieces.select(list(self.keys)).append_column(_PIECE, pa.array(range(pieces.num_rows), pa.int64()))
        last = numbered.group_by(list(self.keys)).aggregate([(_PIECE, "max")]).column(f"{_PIECE}_max")
        newest = pieces.take(last)
        there = pc.or_(pc.less(last, first.num_rows), pc.greater(newest.column("_n"), 0))
        return newest.filter(there).cast(self.schema)

    def _newest(self, pieces: Sequence[pa.Table]) -> pa.RecordBatchReader:
        """Each group as the last of these pieces has it."""
        if len(pieces) == 1:
            return pieces[0].to_reader()
        numbered = [
            piece.append_column(_PIECE, pa.repeat(number, piece.num_rows)) for number, piece in enumerate(pieces)
        ]
        rank = f"row_number() OVER (PARTITION BY {', '.join(self.keys)} ORDER BY {_PIECE} DESC)"
        text = f"SELECT {', '.join(self.schema.names)} FROM _pieces QUALIFY {rank} = 1"
        return self.ask(text, _pieces=pa.concat_tables(numbered))
