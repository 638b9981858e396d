"""Keys of unusual values: each is one row, whatever comes beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from tests.journeys.shop import Shop

from datalab.engine.base import Engine
from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.lake import open_lake

SCHEMA = pa.schema([("chave", pa.float64()), ("versao", pa.int64())])
SQL = """
    CREATE STREAMING TABLE silver.numeros;
    CREATE FLOW f AS AUTO CDC INTO silver.numeros FROM STREAM bronze.pedidos KEYS (chave) SEQUENCE BY versao;
    CREATE MATERIALIZED VIEW gold.por_chave AS
    SELECT chave, max_by(versao, versao) AS ultima FROM silver.numeros GROUP BY chave
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    yield engine
    engine.close()


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
@pytest.mark.parametrize("beside", [[math.nan], [math.nan, None]], ids=str)
def test_a_key_beside_a_nan_is_found_in_its_file(
    engine: Engine, tmp_path: Path, table_format: str, beside: list[float | None]
) -> None:
    shop = Shop(open_lake(table_format, str(tmp_path / "lake")), engine, SQL, schema=SCHEMA)
    for version, keys in enumerate([[1.5, 0.0], [1.5, *beside], [1.5, *beside]]):
        shop.add([{"chave": key, "versao": version} for key in keys])
        shop.run()
    expected = sorted(map(str, [(0.0, 0), (1.5, 2), *((key, 2) for key in beside)]))
    for table, column in (("silver.numeros", "versao"), ("gold.por_chave", "ultima")):
        assert sorted(str((row["chave"], row[column])) for row in shop.rows(table)) == expected
