"""Tables whose files follow an order: by CLUSTER BY, and by default along the key that upserts come by."""

from __future__ import annotations

import pytest
from tests.journeys.shop import Shop

from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.lake import open_lake
from datalab.lake.maintenance.compact import compact
from datalab.lake.maintenance.goals import Goals
from datalab.names import TableName

SQL = """
    CREATE STREAMING TABLE silver.pedidos {layout};
    CREATE FLOW atualiza AS AUTO CDC INTO silver.pedidos FROM STREAM bronze.pedidos KEYS ({keys}) SEQUENCE BY versao;
    CREATE MATERIALIZED VIEW gold.por_uf CLUSTER BY (n, uf) AS
    SELECT uf, count(*) AS n FROM silver.pedidos GROUP BY uf
"""
SILVER, GOLD = TableName.parse("silver.pedidos"), TableName.parse("gold.por_uf")


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
@pytest.mark.parametrize(
    ("layout", "keys", "expected"),
    [
        ("", "id", ()),
        ("", "id, valor", ("valor",)),
        ("", "id, valor, versao", ("versao",)),
        ("CLUSTER BY (uf, id)", "id, valor", ("uf", "id")),
        ("PARTITIONED BY (uf)", "id, valor, uf", ()),
    ],
)
def test_the_order_of_a_tables_files_is_among_its_properties(tmp_path, table_format, layout, keys, expected):
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    shop = Shop(open_lake(table_format, str(tmp_path / "lake")), engine, SQL.format(layout=layout, keys=keys))
    shop.add([{"id": "a", "versao": 1, "uf": "SP", "valor": 1}])
    shop.run()
    target = shop.lake.require(SILVER).target()
    assert target.cluster == expected
    assert target.file_rows > 0
    assert shop.lake.require(GOLD).target().cluster == ("n", "uf")
    shop.add([{"id": "a", "versao": 2, "uf": "MT", "valor": 1}])
    shop.run()
    assert [row["n"] for row in shop.rows("gold.por_uf")]
    engine.close()


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_a_text_too_long_for_a_name_stops_no_partitioned_table(tmp_path, table_format):
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    lake = open_lake(table_format, str(tmp_path / "lake"))
    views = SQL.replace("CLUSTER BY (n, uf)", "PARTITIONED BY (uf)")
    shop = Shop(lake, engine, views.format(layout="PARTITIONED BY (uf)", keys="id, uf"))
    long = "ã" * 400
    for versao, uf in ((1, "SP"), (2, long), (3, long), (4, f"{long}x")):
        shop.add([{"id": key, "versao": versao, "uf": uf, "valor": versao} for key in "ab"])
        shop.run()
        assert compact(lake, SILVER, Goals(), engine.rewrite, "m", lambda *_: None).error is None
    for name in (SILVER, GOLD):
        assert {file.partition for file in lake.files(lake.require(name)).files} == {("SP",), (long,), (f"{long}x",)}
    assert {(row["id"], row["uf"]): row["versao"] for row in shop.rows("silver.pedidos")} == {
        (key, uf): versao for key in "ab" for uf, versao in (("SP", 1), (long, 3), (f"{long}x", 4))
    }
    assert {row["uf"]: row["n"] for row in shop.rows("gold.por_uf")} == {"SP": 2, long: 2, f"{long}x": 2}
    engine.close()


def test_a_table_that_is_there_follows_its_declaration(tmp_path):
    engine = DuckDBEngine(memory_limit="500MB", threads=2)
    lake = open_lake("iceberg", str(tmp_path / "lake"))
    shop = Shop(lake, engine, SQL.format(layout="", keys="id, valor"))
    shop.add([{"id": "a", "versao": 1, "uf": "SP", "valor": 1}])
    shop.run()
    again = Shop(lake, engine, SQL.format(layout="CLUSTER BY (uf)", keys="id, valor"))
    again.add([{"id": "b", "versao": 1, "uf": "SP", "valor": 1}])
    again.run()
    assert lake.require(SILVER).target().cluster == ("uf",)
    engine.close()
