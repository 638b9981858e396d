"""Writers that run in processes of their own and race each other; each keeps a ledger of what it was told."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.contracts.formats_files import PEDIDOS, SCHEMA, change, pedidos, write

from datalab.errors import Fenced
from datalab.lake.lake import open_lake
from datalab.lake.table import TableSpec


def append_until(format_name: str, warehouse: str, ledger: Path, appends: int) -> None:
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


def define(format_name: str, warehouse: str) -> None:
    """Define the table, as others do at the same time."""
    open_lake(format_name, warehouse).define(PEDIDOS, TableSpec(SCHEMA))


def together(work: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[int | None]:
    """Run the same work in one process each, all at once; answers their exit codes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "datalab.lake.formats.iceberg", "datalab.lake.formats.delta"])
    processes = [context.Process(target=work, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]
