"""An Iceberg catalog in one SQLite file beside the tables, in the layout of PyIceberg's SqlCatalog.

It leaves SQLAlchemy out, whose import takes longer than most commands, keeps the parsed metadata of unchanged tables,
and commits at a cost that does not grow with the number of snapshots.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import Catalog, MetastoreCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties

from datalab.errors import LakeError, StorageFull
from datalab.lake.formats.iceberg_io import LocalFileIO
from datalab.lake.formats.iceberg_metadata import applied
from datalab.lake.formats.iceberg_schema import to_iceberg
from datalab.lake.formats.traces import CATALOG_FILE, has_commits
from datalab.lake.recent import Recent
from datalab.lake.schema import normalise
from datalab.lake.whole import undamaged

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table.update import TableRequirement, TableUpdate

_BUSY_SECONDS = 60
_KEPT = 64
_LAYOUT = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key)
);
COMMIT;
"""
# The type of an entry is left out: catalogs made by an older PyIceberg do not have it, and none means a table.
_REGISTER = (
    "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location) VALUES (?, ?, ?, ?)"
)
_TABLE = "catalog_name = ? AND table_namespace = ? AND table_name = ?"


class FolderCatalog(MetastoreCatalog):
    """The tables of a warehouse in a local folder. Safe for threads and processes."""

    def __init__(self, name: str, warehouse: Path) -> None:
        super().__init__(name, warehouse=str(warehouse))
        warehouse.mkdir(parents=True, exist_ok=True)
        self._file = warehouse / CATALOG_FILE
        self._io = LocalFileIO()
        self._parsed = Recent[str, TableMetadata](_KEPT)
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'iceberg_namespace_properties'"):
            with self._opened() as connection:
                connection.executescript(_LAYOUT)

    def load_table(self, identifier: str | Identifier) -> Table:
        """The newest metadata of a table. NoSuchTableError."""
        names = Catalog.identifier_to_tuple(identifier)
        key = self._key(names)
        found = self._rows(f"SELECT metadata_location FROM iceberg_tables WHERE {_TABLE}", *key)
        if not found:
            raise NoSuchTableError(f"Table does not exist: {'.'.join(names)}")
        location = found[0][0]
        with undamaged(location):
            metadata = self._parsed.get(location, lambda: FromInputFile.table_metadata(self._io.new_input(location)))
        return Table(names, metadata, location, self._io, self)

    def create_table(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        """Write the metadata of a new table and register it. TableAlreadyExistsError."""
        names = Catalog.identifier_to_tuple(identifier)
        metadata = new_table_metadata(
            schema=schema if isinstance(schema, Schema) else to_iceberg(normalise(schema)),
            partition_spec=partition_spec,
            sort_order=sort_order,
            location=location or "/".join([self.properties["warehouse"], *names]),
            properties=properties,
        )
        place = _metadata_location(metadata, 0)
        ToOutputFile.table_metadata(metadata, self._io.new_output(place))
        try:
            with self._writing() as connection:
                connection.execute(_REGISTER, (*self._key(names), place))
                self._require_no_commits(names, metadata.location)  # nobody else can register it meanwhile
        except sqlite3.IntegrityError as error:
            self._io.delete(place)
            raise TableAlreadyExistsError(f"Table {'.'.join(names)} already exists") from error
        except LakeError:
            self._io.delete(place)
            raise
        return self.load_table(names)

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Compare and swap. CommitFailedException where the table has moved on."""
        try:
            current = self.load_table(table.name())
        except NoSuchTableError as error:
            raise CommitFailedException(f"Table is gone: {'.'.join(table.name())}") from error
        for requirement in requirements:
            requirement.validate(current.metadata)
        changed = applied(current, updates)
        location = _metadata_location(changed, _version(current.metadata_location) + 1)
        ToOutputFile.table_metadata(changed, self._io.new_output(location))
        with self._writing() as connection:
            swapped = connection.execute(
                "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = metadata_location "
                f"WHERE {_TABLE} AND metadata_location = ?",
                (location, *self._key(table.name()), current.metadata_location),
            ).rowcount
        if not swapped:
            self._io.delete(location)
            raise CommitFailedException(f"Table has been updated by another process: {'.'.join(table.name())}")
        self._parsed.put(location, changed)
        return CommitTableResponse(metadata=changed, metadata_location=location)  # type: ignore[call-arg]  # its alias

    def drop_table(self, identifier: str | Identifier) -> None:
        """Take a table out of the catalog; its files stay. NoSuchTableError."""
        names = Catalog.identifier_to_tuple(identifier)
        with self._writing() as connection:
            if not connection.execute(f"DELETE FROM iceberg_tables WHERE {_TABLE}", self._key(names)).rowcount:
                raise NoSuchTableError(f"Table does not exist: {'.'.join(names)}")

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """The tables of a namespace."""
        space = Catalog.namespace_to_string(namespace)
        query = "SELECT table_name FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ?"
        return [(*space.split("."), row[0]) for row in self._rows(query, self.name, space)]

    def list_namespaces(self, namespace: str | Identifier = ()) -> list[Identifier]:
        """The namespaces; there are none inside of others."""
        query = (
            "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = ?1 "
            "UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = ?1"
        )
        return [] if namespace else [(row[0],) for row in self._rows(query, self.name)]

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """Make a namespace; one that is there already stays as it is."""
        space = Catalog.namespace_to_string(namespace)
        with self._writing() as connection:
            for key, value in {"exists": "true", **properties}.items():
                row = (self.name, space, key, value)
                connection.execute("INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?, ?, ?, ?)", row)

    def load_namespace_properties(self, namespace: str | Identifier) -> Properties:
        """The properties of a namespace. NoSuchNamespaceError."""
        space = Catalog.namespace_to_string(namespace)
        query = (
            "SELECT property_key, property_value FROM iceberg_namespace_properties "
            "WHERE catalog_name = ? AND namespace = ?"
        )
        found = dict(self._rows(query, self.name, space))
        if not found and (space,) not in self.list_namespaces():
            raise NoSuchNamespaceError(f"Namespace does not exist: {space}")
        return found

    def _require_no_commits(self, names: Identifier, location: str) -> None:
        """A catalog that was lost is not begun anew beside tables that have commits: they say what was consumed."""
        folder = Path(location)
        if has_commits(folder):
            raise LakeError(
                f"{'.'.join(names)}: the catalog {self._file} has no such table, and {folder} holds one with commits",
                f"restore {self._file.name} from a backup; to begin anew, with every source from its first record, "
                "move the folder away",
            )

    def _key(self, names: Identifier) -> tuple[str, str, str]:
        return self.name, Catalog.namespace_to_string(names[:-1]), names[-1]

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with self._opened() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """LakeError where the file cannot be used, or is damaged."""
        try:
            with closing(self._connect()) as connection:
                yield connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull(
                    f"no space left for the catalog {self._file}", "free space, then run again"
                ) from error
            hint = "run again; if it stays so: does another process hold the file, may this one write beside it?"
            raise LakeError(f"the catalog {self._file} cannot be used now: {error}", hint) from error
        except sqlite3.DatabaseError as error:
            hint = "restore it from a backup: the tables' own files are not in it"
            raise LakeError(f"the catalog {self._file} is damaged: {error}", hint) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=_BUSY_SECONDS, isolation_level=None)

    def _unsupported(self, *_: object, **__: object) -> Any:
        raise NotImplementedError("the lake's own catalog keeps tables only; open it with PyIceberg's SqlCatalog")

    register_table = rename_table = drop_namespace = update_namespace_properties = _unsupported
    load_view = list_views = register_view = view_exists = drop_view = _unsupported


def _metadata_location(metadata: TableMetadata, version: int) -> str:
    return load_location_provider(metadata.location, metadata.properties).new_table_metadata_file_location(version)


def _version(location: str) -> int:
    return int(Path(location).name.partition("-")[0])
