"""Writing and reading files of tables in tests, without an engine: DuckDB, and each format's plain library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import URL

from datalab.events import Bus
from datalab.lake.formats.base import Format
from datalab.lake.lake import Lake, open_lake
from datalab.lake.provenance import Provenance
from datalab.lake.table import Change, DataFile, Relation, TableState
from datalab.names import TableName

FIELD_ID = b"PARQUET:field_id"
PEDIDOS = TableName("bronze", "pedidos")
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("uf", pa.string()),
        ("feito_em", pa.timestamp("us", tz="UTC")),
        ("area", pa.float64()),
        ("valor", pa.decimal128(10, 2)),
        ("dia", pa.date32()),
        ("ativo", pa.bool_()),
        ("local", pa.struct([("municipio", pa.string()), ("lat", pa.float64())])),
        ("fontes", pa.list_(pa.struct([("nome", pa.string())]))),
    ]
)


@dataclass(frozen=True)
class Place:
    """A lake of one format in a folder of its own."""

    name: str
    warehouse: Path
    lake: Lake
    bus: Bus

    @property
    def tables(self) -> Format:
        return self.lake.format(self.name)

    def fresh(self) -> Lake:
        """The same lake as another process would open it."""
        return open_lake(self.name, str(self.warehouse))


def append(place: Place, state: TableState, first: int, last: int, **facts: Any) -> TableState:
    return place.lake.commit(state, change(write(state, pedidos(first, last)), **facts))


def pedidos(first: int, last: int, uf: str = "SP") -> str:
    """A query for rows with these ids, both included."""
    return f"""
        SELECT range AS id, '{uf}' AS uf,
            TIMESTAMPTZ '2026-01-31 23:59:59.123456+00' + to_days(range::INT) AS feito_em, range + 0.5::DOUBLE AS area,
            (range * 1.25)::DECIMAL(10, 2) AS valor, DATE '2026-01-01' + range::INT AS dia, range % 2 = 0 AS ativo,
            {{municipio: 'Município ' || range, lat: -23.5::DOUBLE}} AS local, [{{nome: 'serasa'}}] AS fontes
        FROM range({first}, {last + 1})
    """


def write(state: TableState, query: str, partition: tuple[Any, ...] = (), stem: str = "dl-") -> DataFile:
    """One new data file where an engine would put it, columns as the query has them."""
    folder = Path(state.target().location)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}{uuid4().hex}.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        names = {row[0] for row in connection.execute(f"DESCRIBE {query}").fetchall()}
        ids = {field.name: _ids(field) for field in state.schema if field.name in names and field.metadata}
        options = f", FIELD_IDS {_literal(ids)}" if ids else ""
        rows = connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet{options})").fetchone()
    return DataFile(str(path), rows[0], path.stat().st_size, partition)


def change(*add: DataFile, remove: Iterable[DataFile] = (), **facts: Any) -> Change:
    """A change by a flow called `ingest` unless said otherwise."""
    return Change(Provenance(**{"run_id": "r1", "flow": "ingest", "kind": "append", **facts}), add, tuple(remove))


def ids(relation: Relation) -> list[int]:
    """The ids in a relation, sorted."""
    if relation.scan is not None:
        return sorted(relation.scan().read_all().column("id").to_pylist())
    if not relation.files:
        return []
    with duckdb.connect() as connection:
        return [
            row[0]
            for row in connection.execute(
                "SELECT id FROM read_parquet(?, union_by_name = true) ORDER BY id",
                [[file.path for file in relation.files]],
            ).fetchall()
        ]


@contextmanager
def plain_catalog(warehouse: Path) -> Iterator[SqlCatalog]:
    """The warehouse's catalog as PyIceberg alone opens it."""
    url = URL.create("sqlite", database=str(warehouse / "catalog.db")).render_as_string(hide_password=False)
    catalog = SqlCatalog("datalab", uri=url, warehouse=str(warehouse))
    try:
        yield catalog
    finally:
        catalog.close()


def plain_iceberg(warehouse: Path, name: TableName) -> pa.Table:
    """The table as PyIceberg's own catalog and reader see it."""
    with plain_catalog(warehouse) as catalog:
        return catalog.load_table(str(name)).scan().to_arrow()


def plain_delta(warehouse: Path, name: TableName) -> pa.Table:
    """The table as delta-rs's own reader sees it."""
    return DeltaTable(warehouse / name.layer / name.table).to_pyarrow_table()


PLAIN: dict[str, Callable[[Path, TableName], pa.Table]] = {"iceberg": plain_iceberg, "delta": plain_delta}


def _ids(field: pa.Field) -> Any:
    own = int(field.metadata[FIELD_ID])
    if pa.types.is_struct(field.type):
        return {"__duckdb_field_id": own, **{child.name: _ids(child) for child in field.type}}
    if pa.types.is_list(field.type):
        return {"__duckdb_field_id": own, "element": _ids(field.type.value_field)}
    if pa.types.is_map(field.type):
        return {"__duckdb_field_id": own, "key": _ids(field.type.key_field), "value": _ids(field.type.item_field)}
    return own


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_literal(inner)}' for name, inner in value.items()) + "}"
    return str(value)
