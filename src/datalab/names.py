"""Table names: `layer.table`, the same in SQL, files, commands and commits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from datalab.errors import InvalidName

VERSION_COLUMNS = ("__start_at", "__end_at")
_PART = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


def is_internal(column: str) -> bool:
    """Whether a column is none of the reader's: it begins with `__`. The bounds of a version of a row do not count."""
    return column.startswith("__") and column.lower() not in VERSION_COLUMNS


@dataclass(frozen=True, order=True)
class TableName:
    """A validated table name of two parts, in lower case."""

    layer: str
    table: str

    def __str__(self) -> str:
        return f"{self.layer}.{self.table}"

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read `layer.table`; raise InvalidName for anything else."""
        layer, dot, table = text.partition(".")
        if not dot or not _PART.match(layer) or not _PART.match(table):
            raise InvalidName(
                f"'{text}' is not a table name",
                "write layer.table, each part of a-z, 0-9 and _, starting with a letter: bronze.pedidos",
            )
        return cls(layer, table)
