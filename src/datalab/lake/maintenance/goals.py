"""What maintenance aims at for a table, as values; settings make them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Goals:
    """Aims and limits for one table.

    `file_size` in bytes: files below half of it are small. `overlap`: more files than that over one value of the
    cluster columns are merged. A snapshot stays while it is among the newest `keep`, or was replaced less than
    `keep_for` ago, and in any case as long as `readers` may still be at it. Orphans stay for `orphans`.
    """

    file_size: int = 256 << 20
    overlap: int = 4
    keep: int = 20
    keep_for: timedelta = timedelta(days=7)
    readers: timedelta = timedelta(hours=6)
    orphans: timedelta = timedelta(days=3)
