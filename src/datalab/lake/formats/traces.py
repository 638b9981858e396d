"""What a warehouse folder shows of a format's tables without loading the format's library."""

from __future__ import annotations

from pathlib import Path

from datalab.errors import InvalidName
from datalab.lake.local import local_path
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


def iceberg_remains(warehouse: str, name: TableName) -> str:
    """The folder of a table that has commits, of which the catalog may know nothing; empty where there is none."""
    folder = local_path(warehouse)
    place = folder / name.layer / name.table if folder is not None else None
    return str(place) if place is not None and has_commits(place) else ""


def has_commits(place: Path) -> bool:
    """Whether a folder is that of an Iceberg table that somebody has committed to."""
    found = (path.name.partition("-")[0] for path in (place / "metadata").glob("[0-9]*-*.metadata.json"))
    return any(number.isdigit() and int(number) for number in found)


def delta_remains(warehouse: str, name: TableName) -> str:
    """The folder where the data files of a Delta table are and its log is not; empty where there is none."""
    folder = local_path(warehouse)
    place = folder / name.layer / name.table if folder is not None else None
    if place is None or not place.is_dir() or (place / "metadata").exists():
        return ""
    return str(place) if has_lost_log(place) else ""


def has_lost_log(place: Path) -> bool:
    """Whether a folder holds data files of a Delta table, and no version in its log, be that there or not."""
    if next((place / DELTA_LOG).glob("[0-9]*"), None) is not None:
        return False
    return next(place.rglob("dl-*.parquet"), None) is not None
