"""What is done to a small table while things go wrong: each operation once, as the rest of DataLab does it.

Every row belongs to a batch and every batch to a key, so that half of a commit can be told from a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import parse_one

from datalab.engine.base import Append, Mode, Query, Replace, Staged, Upsert, Work
from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.lake import Lake, open_lake
from datalab.lake.layout import MARK_ROWS_KEY
from datalab.lake.maintenance.compact import compact
from datalab.lake.maintenance.expire import expire
from datalab.lake.maintenance.goals import Goals
from datalab.lake.provenance import Provenance, Range
from datalab.lake.table import Relation, TableSpec, TableState
from datalab.names import TableName
from datalab.quality.publish import discarded_on_failure

FORMATS = ("iceberg", "delta")
TABLE = TableName("silver", "contas")
SCHEMA = pa.schema(
    [*((name, pa.int64()) for name in ("conta", "parte", "versao", "__sequence")), ("nota", pa.string())]
)
PARTS, MANY = 5, (30, 60)
AT_ONCE = Goals(keep=1, keep_for=timedelta(0), readers=timedelta(0), orphans=timedelta(0))


@dataclass(frozen=True)
class Place:
    """A lake and an engine of one process."""

    format: str
    warehouse: Path
    lake: Lake
    engine: DuckDBEngine

    @classmethod
    def open(cls, table_format: str, warehouse: Path) -> Place:
        temporary = warehouse.parent / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        engine = DuckDBEngine("512MB", threads=1, temp_directory=temporary)
        return cls(table_format, warehouse, open_lake(table_format, str(warehouse)), engine)

    def rows(self, state: TableState | None = None) -> dict[tuple[int, int], int]:
        """(conta, parte) → versao. AssertionError where a row is there twice."""
        state = state or self.lake.require(TABLE)
        query = _query("SELECT conta, parte, versao FROM t", {"t": self.lake.files(state)})
        found = self.engine.read(query).read_all().to_pylist()
        held = {(row["conta"], row["parte"]): row["versao"] for row in found}
        assert len(held) == len(found), f"{len(found) - len(held)} rows are there twice"
        return held


def contas(first: int, last: int, versao: int) -> pa.Table:
    """All parts of some accounts, in one version."""
    rows = [
        {
            "conta": conta,
            "parte": parte,
            "versao": versao,
            "__sequence": versao,
            "nota": f"{conta}/{parte}" * 9,
        }
        for conta in range(first, last + 1)
        for parte in range(PARTS)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def expected(first: int, last: int, versao: int) -> dict[tuple[int, int], int]:
    """The rows of `contas` as `Place.rows` answers them."""
    return {(conta, parte): versao for conta in range(first, last + 1) for parte in range(PARTS)}


def prepare(place: Place) -> None:
    """Accounts 1 to 4, each from a commit of its own, and then account 1 anew; many in one file, and one of them anew.

    Of the last one the rows are marked as gone, where the format can do that.
    """
    place.lake.define(TABLE, TableSpec(SCHEMA, properties={MARK_ROWS_KEY: "1"}))
    for number in range(1, 5):
        put(place, contas(number, number, 1), Append(), number)
    put(place, contas(1, 1, 2), Upsert(("conta", "parte"), "__sequence"), 5)
    put(place, contas(*MANY, 1), Append(), 6)
    put(place, contas(40, 40, 2), Upsert(("conta", "parte"), "__sequence"), 7)


def stage(place: Place, state: TableState, rows: pa.Table, mode: Mode) -> Staged:
    current = None if isinstance(mode, Append) else place.lake.files(state)
    work = Work(_query("SELECT * FROM t", {"t": Relation(SCHEMA, memory=rows)}), state.target(), mode, (), current)
    return place.engine.stage(work)


def put(place: Place, rows: pa.Table, mode: Mode, unit: int, state: TableState | None = None) -> TableState:
    """Consume unit `unit` of a source, once: a unit that the table has consumed already is left alone."""
    state = state or place.lake.require(TABLE)
    position = state.positions.get("fonte")
    since = position.inputs["bronze.fonte"] if position else 0
    if since >= unit:
        return state
    return write_once(place, state, stage(place, state, rows, mode), type(mode).__name__.lower(), unit)


def write_once(place: Place, state: TableState, staged: Staged, kind: str = "upsert", unit: int = 0) -> TableState:
    """Commit what was staged, from exactly the state that it was staged for."""
    position = state.positions["fonte"].inputs["bronze.fonte"] if state.positions else 0
    inputs = {"bronze.fonte": Range(position, unit or position)}
    provenance = Provenance("r", "fonte", kind, inputs=inputs, written=staged.written)
    with discarded_on_failure(place.engine, staged):
        return place.lake.commit(state, staged.change(provenance))


def append(place: Place) -> None:
    put(place, contas(7, 8, 1), Append(), 8)


def upsert(place: Place) -> None:
    put(place, contas(3, 5, 6), Upsert(("conta", "parte"), "__sequence"), 8)


def mark(place: Place) -> None:
    put(place, contas(41, 43, 6), Upsert(("conta", "parte"), "__sequence"), 8)


def replace(place: Place) -> None:
    put(place, contas(9, 9, 6), Replace(), 8)


def merge(place: Place) -> None:
    compact(place.lake, TABLE, Goals(), place.engine.rewrite, "m", lambda *_: None)


def forget(place: Place) -> None:
    expire(place.lake, TABLE, (), AT_ONCE, datetime.now(UTC))


BEFORE = {**expected(2, 4, 1), **expected(1, 1, 2), **expected(*MANY, 1), **expected(40, 40, 2)}
AFTER: Mapping[str, dict[tuple[int, int], int]] = {
    "append": {**BEFORE, **expected(7, 8, 1)},
    "upsert": {**BEFORE, **expected(3, 5, 6)},
    "mark": {**BEFORE, **expected(41, 43, 6)},
    "replace": expected(9, 9, 6),
    "compact": BEFORE,
    "expire": BEFORE,
}
OPERATIONS: Mapping[str, Callable[[Place], None]] = {
    "append": append,
    "upsert": upsert,
    "mark": mark,
    "replace": replace,
    "compact": merge,
    "expire": forget,
}


def _query(sql: str, relations: Mapping[str, Relation]) -> Query:
    tree: Any = parse_one(sql, read="spark")
    return Query(tree, relations, datetime.now(UTC))
