"""Traces in a project whose flows have run, and the same look-ups as somebody would write them in DuckDB by hand."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import duckdb

from benchmarks.inside.peer import MEMORY, THREADS
from benchmarks.inside.project import BRONZE, SILVER, opened
from datalab.cli.collector import seldom
from datalab.lineage.tree import Rows, positions
from datalab.names import TableName
from datalab.platform.traces import Question, trace_back, trace_rows

FARMER, PLACE = "gold.proponente_features_agro", "gold.location_features_agro"
LIMIT = 10
_LOADED_LATE = (
    "datalab.engine.duckdb",
    "datalab.lake.formats.iceberg",
    "datalab.lake.formats.delta",
    "sqlglot.dialects.duckdb",
)


def chosen(project: str, table_format: str, number: int) -> dict[str, Any]:
    """What is asked for in one round, and the data files that a hand would read."""
    with opened(project, table_format) as lab:
        skipped = f"WHERE total_solicitacoes > 3 ORDER BY md5(concat(proponente_id, '{number}')) LIMIT 1"
        (farmer,) = lab.query(f"SELECT proponente_id FROM {FARMER} {skipped}").read_all().to_pylist()
        (place,) = (
            lab.query(
                f"SELECT localizacao_uf, localizacao_municipio FROM {PLACE} "
                f"ORDER BY md5(concat(localizacao_municipio, '{number}')) LIMIT 1"
            )
            .read_all()
            .to_pylist()
        )
        traced = trace_rows(lab, Question(TableName.parse(FARMER), _keys(farmer)))
        record = next(positions(traced.rows[0]))
        files = {
            name: [file.path for file in lab.lake.files(lab.lake.require(TableName.parse(name))).files]
            for name in (FARMER, PLACE, SILVER, BRONZE)
        }
    return {"farmer": farmer, "place": place, "record": record, "files": files}


def trace(project: str, table_format: str, table: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """One row down to its records, in a lab just opened, as in the command; libraries were loaded before."""
    with seldom():
        return _traced(project, table_format, table, keys)


def _traced(project: str, table_format: str, table: str, keys: Mapping[str, str]) -> dict[str, Any]:
    _load()
    started, used = time.monotonic(), _cpu()
    with opened(project, table_format) as lab:
        found = trace_rows(lab, Question(TableName.parse(table), _keys(keys), limit=LIMIT))
        spent = {"work": time.monotonic() - started, "work_cpu": _cpu() - used}
    return {**spent, **_told(found)}


def back(project: str, table_format: str, record: str) -> dict[str, Any]:
    """One record up to all that it reached, as in the command."""
    with seldom():
        return _traced_back(project, table_format, record)


def _traced_back(project: str, table_format: str, record: str) -> dict[str, Any]:
    _load()
    started, used = time.monotonic(), _cpu()
    with opened(project, table_format) as lab:
        found = trace_back(lab, record, LIMIT)
        spent = {"work": time.monotonic() - started, "work_cpu": _cpu() - used}
    return {**spent, "rows": len(found.rows)}


def by_hand(files: Mapping[str, list[str]], table: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """Gold by its key, silver by the same, bronze by the keys of at most LIMIT rows: queries on the data files."""
    started, used = time.monotonic(), _cpu()
    with duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        same = " AND ".join(f"{name} = '{value}'" for name, value in keys.items())
        connection.execute(f"SELECT * FROM read_parquet({files[table]}) WHERE {same}").to_arrow_table()
        silver = f"FROM read_parquet({files[SILVER]}) WHERE {same}"
        found = connection.execute(f"SELECT proponente_id, data_solicitacao {silver} LIMIT {LIMIT}").to_arrow_table()
        (total,) = connection.execute(f"SELECT count(*) {silver}").fetchone() or (0,)
        connection.register("found", found)
        events = connection.execute(
            f"SELECT b.proponente_id, b.source_file, b.source_row FROM read_parquet({files[BRONZE]}) b JOIN found f "
            "ON b.proponente_id = f.proponente_id AND b.data_solicitacao = epoch_ms(f.data_solicitacao)"
        ).to_arrow_table()
    spent = {"work": time.monotonic() - started, "work_cpu": _cpu() - used}
    return {**spent, "silver": total, "records": events.num_rows}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _load() -> None:
    for module in _LOADED_LATE:
        import_module(module)


def _keys(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _told(found: Rows) -> dict[str, Any]:
    (row,) = found.rows
    return {"silver": row.reads[0].total, "records": len([*positions(row)])}
