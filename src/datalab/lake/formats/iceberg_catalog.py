"""Where Iceberg tables are registered: any catalog of PyIceberg, or SQLite beside the tables in a local folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from sqlalchemy import URL, select
from sqlalchemy.exc import OperationalError

from datalab.lake.formats.recent import Recent
from datalab.lake.formats.traces import CATALOG_FILE

if TYPE_CHECKING:
    from pyiceberg.table.update import TableRequirement, TableUpdate
    from pyiceberg.typedef import Identifier

_NAME = "datalab"
_BUSY_SECONDS = "60"
_KEPT = 64


def open_catalog(warehouse: str, properties: Mapping[str, str]) -> Catalog:
    """PyIceberg's own configuration is passed through; without any, the catalog is SQLite in the warehouse folder."""
    if properties:
        settings = {"warehouse": warehouse, **properties}
        return load_catalog(settings.pop("name", _NAME), **settings)
    folder = Path(warehouse)
    folder.mkdir(parents=True, exist_ok=True)
    url = URL.create("sqlite", database=str(folder / CATALOG_FILE), query={"timeout": _BUSY_SECONDS})
    settings = {
        "uri": url.render_as_string(hide_password=False),
        "warehouse": warehouse,
        "py-io-impl": "datalab.lake.formats.iceberg_io.LocalFileIO",
    }
    try:
        return FolderCatalog(_NAME, **settings)
    except OperationalError:
        # Another process created the catalog's tables between our look and our attempt: they are there now.
        return FolderCatalog(_NAME, **settings)


class FolderCatalog(SqlCatalog):
    """PyIceberg's SQL catalog, which parses the metadata of an unchanged table only once."""

    def __init__(self, name: str, **properties: str) -> None:
        self._parsed = Recent[str, TableMetadata](_KEPT)
        super().__init__(name, **properties)

    def load_table(self, identifier: str | Identifier) -> Table:
        """The newest metadata of a table. NoSuchTableError."""
        names = Catalog.identifier_to_tuple(identifier)
        location = self._metadata_location(names)
        io = self._load_file_io(location=location)
        metadata = self._parsed.get(location, lambda: FromInputFile.table_metadata(io.new_input(location)))
        return Table(names, metadata, location, io, self)

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Compare and swap, and remember the outcome."""
        response = super().commit_table(table, requirements, updates)
        self._parsed.put(response.metadata_location, response.metadata)
        return response

    def _metadata_location(self, names: Identifier) -> str:
        query = select(IcebergTables.metadata_location).where(
            IcebergTables.catalog_name == self.name,
            IcebergTables.table_namespace == Catalog.namespace_to_string(names[:-1]),
            IcebergTables.table_name == names[-1],
        )
        with self.engine.connect() as connection:
            location = connection.execute(query).scalar()
        if location is None:
            raise NoSuchTableError(f"Table does not exist: {'.'.join(names)}")
        return str(location)
