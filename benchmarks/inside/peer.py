"""The peer: plain DuckDB, Parquet to Parquet, with the same SQL, threads and memory; nothing of ours is imported."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb

THREADS = 2
MEMORY = "2GB"
SEQUENCE = "__sequence"


def run(queries: str, folder: str, variant: str) -> dict[str, Any]:
    """Bronze files to silver and gold files in a new folder; `variant` is how the newest row is found.

    `failed` where DuckDB cannot do it within its memory.
    """
    asked = json.loads(Path(queries).read_text(encoding="utf-8"))
    Path(folder).mkdir(parents=True)
    spill = f"{folder}/spill"
    started = time.monotonic()
    with duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY, "temp_directory": spill}) as connection:
        try:
            silver = _work(connection, asked, folder, variant) - started
        except duckdb.OutOfMemoryException:
            return {"work": time.monotonic() - started, "failed": "out of memory"}
        seconds = time.monotonic() - started
        rows = {name: _count(connection, f"{folder}/{name}*.parquet") for name in ("silver", *asked["gold"])}
    return {"work": seconds, "silver": silver, "gold": seconds - silver, "rows": rows}


def _work(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], folder: str, variant: str) -> float:
    """Answers the moment at which silver was done."""
    _prepare(connection, asked)
    path = f"{folder}/silver.parquet"
    VARIANTS[variant](connection, asked, path)
    done = time.monotonic()
    connection.execute(
        f"CREATE VIEW silver.silver_dados_produtores_agro AS FROM read_parquet('{folder}/silver*.parquet')"
    )
    for name, sql in asked["gold"].items():
        _copy(connection, sql, f"{folder}/{name}.parquet")
    return done


def _prepare(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any]) -> None:
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
    connection.execute("CREATE SCHEMA bronze; CREATE SCHEMA silver")
    for macro in asked["macros"]:
        connection.execute(macro)
    files = ", ".join(f"'{path}'" for path in asked["files"])
    rows = f"FROM read_parquet([{files}], hive_partitioning = false)"
    connection.execute(f"CREATE VIEW bronze.dados_produtores_agro AS {rows}")
    where = " AND ".join(asked["where"])
    connection.execute(f"CREATE VIEW valid AS SELECT * FROM ({asked['select']}) WHERE {where}")


def _window(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], path: str) -> None:
    _copy(connection, f"SELECT * EXCLUDE ({SEQUENCE}) FROM ({_newest('valid', asked)})", path)


def _arg_max(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], path: str) -> None:
    rows = f"SELECT arg_max(valid, {SEQUENCE}) AS newest FROM valid GROUP BY {', '.join(asked['keys'])}"
    _copy(connection, f"SELECT unnest(newest) FROM ({rows})", path)


def _repeated(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], path: str) -> None:
    """Only keys that occur more than once are compared; all other rows stream through."""
    _find_repeated(connection, asked)
    keys = _hash(asked)
    alone = f"SELECT * FROM valid WHERE {keys} NOT IN (FROM repeated)"
    several = f"SELECT * FROM valid WHERE {keys} IN (FROM repeated)"
    rows = f"{alone} UNION ALL FROM ({_newest(f'({several})', asked)})"
    _copy(connection, f"SELECT * EXCLUDE ({SEQUENCE}) FROM ({rows})", path)


def _split(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], path: str) -> None:
    """The same in one pass over the wide rows: those to compare are set aside, in files of their own."""
    _find_repeated(connection, asked)
    aside = Path(path).parent / "split"
    rows = f"SELECT *, {_hash(asked)} IN (FROM repeated) AS several FROM valid"
    connection.execute(f"COPY ({rows}) TO '{aside}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (several))")
    found = f"read_parquet('{aside}/several=true/*.parquet', hive_partitioning = false)"
    _copy(connection, f"SELECT * EXCLUDE ({SEQUENCE}) FROM ({_newest(found, asked)})", path)
    for number, file in enumerate(sorted((aside / "several=false").iterdir())):
        file.rename(Path(path).with_stem(f"silver{number}"))


def _find_repeated(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any]) -> None:
    hashes = f"SELECT {_hash(asked)} AS h FROM ({asked['select']})"
    connection.execute(f"CREATE TEMP TABLE repeated AS SELECT h FROM ({hashes}) GROUP BY h HAVING count(*) > 1")


def _hash(asked: Mapping[str, Any]) -> str:
    return f"hash({', '.join(asked['keys'])})"


def _newest(rows: str, asked: Mapping[str, Any]) -> str:
    rank = f"row_number() OVER (PARTITION BY {', '.join(asked['keys'])} ORDER BY {SEQUENCE} DESC)"
    return f"SELECT * FROM {rows} QUALIFY {rank} = 1"


def _copy(connection: duckdb.DuckDBPyConnection, sql: str, path: str) -> None:
    connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def _count(connection: duckdb.DuckDBPyConnection, files: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM '{files}'").fetchone() or (0,)
    return int(count)


VARIANTS: dict[str, Callable[[duckdb.DuckDBPyConnection, Mapping[str, Any], str], None]] = {
    "window": _window,
    "arg_max": _arg_max,
    "repeated": _repeated,
    "split": _split,
}
