"""The peers: delta-rs's merge of the same batches into a table of the same rows that it wrote; files for Spark's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyarrow.dataset import dataset
from pyarrow.parquet import write_table

from benchmarks.inside.project import opened
from benchmarks.inside.upserts import KEYS, SEQUENCE, SPREADS, batch, present, timed, told

TIME = "data_solicitacao"


def merges(project: str, table_format: str, repeat: int, folder: str) -> dict[str, Any]:
    """Every kind of batch `repeat` times, in this process; silver must be there."""
    with opened(project, table_format) as lab:
        batches = {spread: [batch(lab, spread, turn) for turn in range(repeat)] for spread in SPREADS}
        with present(lab) as connection:
            connection.execute(f"SET temp_directory = '{folder}.spill'; SET memory_limit = '8GB'")
            connection.execute(f"COPY (FROM present ORDER BY {TIME}) TO '{folder}.parquet'")
        write_deltalake(folder, dataset(f"{folder}.parquet").scanner().to_reader())
        Path(f"{folder}.parquet").unlink()
    found = {spread: [timed(_merging(folder, spread), rows) for rows in batches[spread]] for spread in SPREADS}
    return {name: told(runs) for name, runs in found.items()}


def for_spark(project: str, table_format: str, repeat: int, folder: str) -> dict[str, Any]:
    """Silver and the batches as Parquet files, for Spark's MERGE, and how it is to merge them."""
    place = Path(folder)
    place.mkdir(parents=True)
    found: dict[str, list[dict[str, str]]] = {spread: [] for spread in SPREADS}
    with opened(project, table_format) as lab:
        for spread, turn in product(SPREADS, range(repeat)):
            rows, path = batch(lab, spread, turn), place / f"{spread}-{turn}.parquet"
            write_table(rows, path)
            since = "" if spread == "scattered" else str(min(rows.column(TIME).to_pylist()))
            found[spread].append({"path": str(path), "since": since})
        with present(lab) as connection:
            connection.execute(f"SET temp_directory = '{folder}.spill'; SET memory_limit = '8GB'")
            connection.execute(f"COPY (FROM present ORDER BY {TIME}) TO '{place / 'rows.parquet'}'")
    return {"rows": f"{place}/rows.parquet", "batches": found, "keys": KEYS, "sequence": SEQUENCE, "time": TIME}


def _merging(folder: str, spread: str) -> Callable[[pa.Table], None]:
    """Where the batch is recent its lowest time stands in the predicate first, so that files can be left out.

    At ten million rows delta-rs leaves out the files that hold the keys, too: then it merges again without.
    """
    same = " AND ".join(f"s.{key} = t.{key}" for key in KEYS)

    def merge(rows: pa.Table) -> None:
        lowest = min(rows.column(TIME).cast(pa.int64()).to_pylist())
        bound = f" AND t.{TIME} >= arrow_cast({lowest}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
        updated = _merged(folder, rows, same + bound) if spread != "scattered" else 0
        updated = updated or _merged(folder, rows, same)
        if updated != len(rows):
            raise SystemExit(f"{len(rows)} rows came, {updated} were updated")

    return merge


def _merged(folder: str, rows: pa.Table, predicate: str) -> int:
    merging = DeltaTable(folder).merge(rows, predicate=predicate, source_alias="s", target_alias="t")
    later = merging.when_matched_update_all(predicate=f"s.{SEQUENCE} > t.{SEQUENCE}")
    return int(later.execute()["num_target_rows_updated"])
