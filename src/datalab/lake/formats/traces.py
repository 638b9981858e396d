"""What a warehouse folder shows of a format's tables without loading the format's library."""

from __future__ import annotations

from datalab.errors import InvalidName
from datalab.lake.formats.local import local_path
from datalab.names import TableName

CATALOG_FILE = "catalog.db"
DELTA_LOG = "_delta_log"


def has_catalog(warehouse: str) -> bool:
    """Whether Iceberg's own SQLite catalog is there."""
    folder = local_path(warehouse)
    return folder is not None and (folder / CATALOG_FILE).is_file()


def other_warehouse(location: str, warehouse: str) -> str:
    """The warehouse that a table lies in, if that is another one than `warehouse` and has a catalog; else empty."""
    place, own = local_path(location), local_path(warehouse)
    if place is None or own is None or place.is_relative_to(own):
        return ""
    holder = next((folder for folder in place.parents if (folder / CATALOG_FILE).is_file()), None)
    return "" if holder is None or holder.resolve() == own.resolve() else str(holder)


def has_delta_table(warehouse: str, name: TableName) -> bool:
    """Whether there is a Delta table of that name."""
    folder = local_path(warehouse)
    return folder is not None and (folder / name.layer / name.table / DELTA_LOG).is_dir()


def delta_tables(warehouse: str) -> tuple[TableName, ...]:
    """All Delta tables under the warehouse, sorted; folders that no table can be named after are left out."""
    folder = local_path(warehouse)
    logs = folder.glob(f"*/*/{DELTA_LOG}") if folder is not None and folder.is_dir() else ()
    found = []
    for log in logs:
        try:
            found.append(TableName.parse(f"{log.parent.parent.name}.{log.parent.name}"))
        except InvalidName:
            continue
    return tuple(sorted(found))
