"""How a table's rows lie in its files: in which order, how many per file. Table properties tell it to every writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

CLUSTER_KEY = "datalab.cluster_by"
FILE_ROWS_KEY = "datalab.file_rows"
MARK_ROWS_KEY = "datalab.mark_rows"
MERGE_MODE_KEY = "write.merge.mode"  # Iceberg's own
MERGE_MODES = ("copy-on-write", "merge-on-read")
UPSERT_FILE_ROWS = 65_536
MARK_ROWS = 20_000  # a file of so many rows is written about as quickly as marks for it


def layout_properties(cluster: Sequence[str], file_rows: int = 0) -> dict[str, str]:
    """The properties of a table whose files follow an order of columns, and hold so many rows (0: by their size)."""
    found = {CLUSTER_KEY: ",".join(cluster)} if cluster else {}
    return {**found, FILE_ROWS_KEY: str(file_rows)} if file_rows else found


def cluster_of(properties: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    """The columns that a table's files follow; names that are no column of it (any more) are left out."""
    exact = {name.lower(): name for name in names}
    wanted = (name.strip().lower() for name in properties.get(CLUSTER_KEY, "").split(","))
    return tuple(exact[name] for name in wanted if name in exact)


def mark_rows_of(properties: Mapping[str, str]) -> int:
    """Rows from which on a file keeps rows that were deleted, marked; 0 where every file is written again without."""
    if properties.get(MERGE_MODE_KEY, "").lower() == "copy-on-write":
        return 0
    text = properties.get(MARK_ROWS_KEY, "")
    return int(text) if text.isdecimal() else MARK_ROWS


def file_rows_of(properties: Mapping[str, str]) -> int:
    """Rows that a full file of the table holds; 0 where its size decides."""
    text = properties.get(FILE_ROWS_KEY, "")
    return int(text) if text.isdecimal() else 0
