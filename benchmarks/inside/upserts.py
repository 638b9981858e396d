"""Batches of corrections merged into a large silver table; many small commits into one table."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from statistics import median
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from sqlglot import exp

from benchmarks.inside.project import MEMORY, SILVER, THREADS, opened
from datalab.engine.base import Query, Upsert, Work
from datalab.engine.relations import file_rows
from datalab.lake.provenance import Provenance
from datalab.lake.table import Relation, TableSpec, TableState
from datalab.names import TableName
from datalab.platform.lab import Lab
from datalab.platform.upkeep import optimize
from datalab.platform.wish import Wish

KEYS = ("proponente_id", "data_solicitacao")
SEQUENCE = "__sequence"
BATCH = 10_000
NAME = TableName.parse(SILVER)
Given = TypeVar("Given")
# The newest rows; rows of the last hundredth; rows from anywhere.
SPREADS = {
    "newest": "ORDER BY data_solicitacao DESC LIMIT {count}",
    "recent": "WHERE data_solicitacao > (SELECT quantile_disc(data_solicitacao, 0.99) FROM present) "
    "ORDER BY hash(data_solicitacao, {turn}) LIMIT {count}",
    "scattered": "ORDER BY hash(proponente_id, data_solicitacao, {turn}) LIMIT {count}",
}


def ours(project: str, table_format: str, repeat: int) -> dict[str, Any]:
    """Silver from bronze, then every kind of batch `repeat` times in this process: the first is cold, others warm."""
    with opened(project, table_format) as lab:
        started = time.monotonic()
        lab.run(Wish(tables=(NAME,), ingest=False))
        first = time.monotonic() - started
        found = {
            spread: [timed(_merging(lab), batch(lab, spread, turn)) for turn in range(repeat)] for spread in SPREADS
        }
        files = len(lab.lake.files(lab.lake.require(NAME)).files)
        return {"first": first, "files": files, **{name: told(runs) for name, runs in found.items()}}


def commits(project: str, table_format: str, count: int, rows: int) -> dict[str, Any]:
    """So many upserts of a few new rows each into one table, then all of it read; and the same rows from one file."""
    schema = pa.schema([("id", pa.int64()), ("valor", pa.float64()), (SEQUENCE, pa.int64())])
    name, whole = TableName("silver", "commits"), TableName("silver", "whole")
    layout = {"datalab.cluster_by": "id", "datalab.file_rows": "65536"}
    seconds, cpu = [], []

    def made(first: int, last: int) -> pa.Table:
        ids = list(range(first, last))
        return pa.table({"id": ids, "valor": [1.0] * len(ids), SEQUENCE: ids}, schema=schema)

    with opened(project, table_format) as lab:
        lab.lake.define(name, TableSpec(schema, properties=layout))
        lab.lake.define(whole, TableSpec(schema))
        _upsert(lab, lab.lake.require(whole), made(0, count * rows), ("id",))
        for turn in range(count):
            batch_rows = made(turn * rows, (turn + 1) * rows)
            took = timed(lambda new: _upsert(lab, lab.lake.require(name), new, ("id",)), batch_rows)
            seconds.append(took[0])
            cpu.append(took[1])
        (before,) = _reads(lab, name)
        started = time.monotonic()
        list(optimize(lab, [name]))
        compaction = time.monotonic() - started
        after, single = _reads(lab, name, whole)
    answer = {"first": median(seconds[:20]), "last": median(seconds[-20:]), "all": sum(seconds)}
    answer |= {"first_cpu": median(cpu[:20]), "last_cpu": median(cpu[-20:])}
    return {**answer, "read": before, "compaction": compaction, "read_after": after, "read_whole": single}


def _reads(lab: Lab, *names: TableName) -> list[tuple[float, float]]:
    """The median wall and CPU seconds of reading each table, one after the other in turn: both meet the same others."""
    tree = exp.select(exp.func("sum", exp.column("valor")).as_("total")).from_("t")
    relations = [lab.lake.files(lab.lake.require(name)) for name in names]

    def read(relation: Relation) -> None:
        lab.engine.read(Query(tree, {"t": relation}, datetime.now(UTC), "benchmark")).read_all()

    runs = [[timed(read, relation) for relation in relations] for _ in range(31)]
    return [(median(run[0] for run in each), median(run[1] for run in each)) for each in zip(*runs, strict=True)]


def _merging(lab: Lab) -> Callable[[pa.Table], None]:
    return lambda rows: _upsert(lab, lab.lake.require(NAME), rows, KEYS)


def _upsert(lab: Lab, state: TableState, rows: pa.Table, keys: tuple[str, ...]) -> None:
    tree = exp.select(*[exp.column(name, quoted=True) for name in rows.schema.names]).from_("batch")
    query = Query(tree, {"batch": Relation(rows.schema, memory=rows)}, datetime.now(UTC), "benchmark")
    mode = Upsert(keys, SEQUENCE, tuple(name for name in rows.schema.names if name == "processed_at"))
    staged = lab.engine.stage(Work(query, state.target(), mode, (), lab.lake.files(state)))
    provenance = Provenance("benchmark", "corrections", "upsert", read=staged.read, written=staged.written)
    lab.lake.commit(state, staged.change(provenance))
    if staged.written != len(rows):
        raise SystemExit(f"{len(rows)} rows came, {staged.written} of them entered")


def batch(lab: Lab, spread: str, turn: int) -> pa.Table:
    """Corrections of present rows, later than they are."""
    later = f"{SEQUENCE} + {(100 * list(SPREADS).index(spread) + turn + 1) * 1_000_000_000_000}"
    chosen = SPREADS[spread].format(count=BATCH, turn=turn)
    with present(lab) as connection:
        rows = connection.execute(
            f"SELECT * REPLACE (valor_solicitado_credito + 1 AS valor_solicitado_credito, {later} AS {SEQUENCE}) "
            f"FROM present SEMI JOIN (SELECT {', '.join(KEYS)} FROM present {chosen}) USING ({', '.join(KEYS)})"
        ).to_arrow_table()
    return rows.cast(lab.lake.require(NAME).schema.remove_metadata())


def present(lab: Lab) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own that reads silver, internal columns and all, as `present`."""
    silver = lab.lake.files(lab.lake.require(NAME))
    connection = duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE VIEW present AS {file_rows(silver.schema, silver.files)}")
    return connection


def timed(work: Callable[[Given], None], rows: Given) -> tuple[float, float]:
    """Wall and CPU seconds of one merge, or one read."""
    before, started = _cpu(), time.monotonic()
    work(rows)
    return time.monotonic() - started, _cpu() - before


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def told(runs: list[tuple[float, float]]) -> Mapping[str, float]:
    """The first of several merges, and the median of the others."""
    warm = runs[1:] or runs
    return {"cold": runs[0][0], "warm": median(run[0] for run in warm), "cpu": median(run[1] for run in warm)}
