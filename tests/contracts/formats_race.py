"""A writer that runs in a process of its own and races others; it keeps a ledger of what it was told."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.contracts.formats_files import PEDIDOS, change, pedidos, write

from datalab.errors import Fenced
from datalab.lake.lake import open_lake


def race(format_name: str, warehouse: str, ledger: Path, appends: int) -> None:
    """Append until so many commits were acknowledged; each attempt writes `landed` or `fenced` and its commit id."""
    lake = open_lake(format_name, warehouse)
    landed = 0
    with ledger.open("a", encoding="utf-8") as lines:
        while landed < appends:
            state = lake.require(PEDIDOS)
            attempt = change(write(state, pedidos(1, 3)), flow=ledger.stem)
            try:
                lake.commit(state, attempt)
                outcome, landed = "landed", landed + 1
            except Fenced:
                outcome = "fenced"
            lines.write(f"{outcome} {attempt.provenance.commit_id}\n")


if __name__ == "__main__":
    race(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
