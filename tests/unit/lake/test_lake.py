"""The facade: several formats side by side, each loaded only when one of its tables is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from tests.contracts.formats_files import PEDIDOS, SCHEMA, change, ids, pedidos, plain_catalog, write

from datalab.errors import Fenced, InvalidSetting, LakeError, MissingExtra, NotSupported, SchemaConflict, TableNotFound
from datalab.lake.lake import open_lake
from datalab.lake.table import DataFile, PartitionField, TableSpec
from datalab.names import TableName

OUTRA = TableName("silver", "outra")


def test_tables_of_both_formats_live_side_by_side(tmp_path: Path) -> None:
    lake = open_lake("iceberg", str(tmp_path / "lake"))
    lake.define(PEDIDOS, TableSpec(SCHEMA))
    lake.define(OUTRA, TableSpec(SCHEMA), "delta")
    again = open_lake("delta", str(tmp_path / "lake"))
    assert again.names() == (PEDIDOS, OUTRA)
    assert [again.require(name).format for name in again.names()] == ["iceberg", "delta"]
    state = again.require(OUTRA)
    assert again.commit(state, change(write(state, pedidos(1, 2)))).snapshot == 1
    assert again.define(PEDIDOS, TableSpec(SCHEMA)).format == "iceberg"


def test_a_table_does_not_change_its_format(tmp_path: Path) -> None:
    lake = open_lake("iceberg", str(tmp_path))
    lake.define(PEDIDOS, TableSpec(SCHEMA))
    with pytest.raises(LakeError, match=r"bronze\.pedidos is kept as iceberg, not delta"):
        lake.define(PEDIDOS, TableSpec(SCHEMA), "delta")


def test_looking_at_an_empty_lake_makes_nothing(tmp_path: Path) -> None:
    lake = open_lake("iceberg", str(tmp_path / "lake"))
    assert lake.names() == ()
    assert lake.state(PEDIDOS) is None
    with pytest.raises(TableNotFound, match=r"there is no table bronze\.pedidos"):
        lake.require(PEDIDOS)
    assert not (tmp_path / "lake").exists()


def test_a_partition_column_must_exist(tmp_path: Path) -> None:
    lake = open_lake("iceberg", str(tmp_path))
    with pytest.raises(SchemaConflict, match=r"bronze\.pedidos is partitioned by estado"):
        lake.define(PEDIDOS, TableSpec(SCHEMA, (PartitionField("estado"),)))


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="hudi"):
        open_lake("hudi", str(tmp_path)).define(PEDIDOS, TableSpec(SCHEMA))


def test_delta_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "datalab.lake.formats.delta", raising=False)
    monkeypatch.delitem(sys.modules, "datalab.lake.formats.delta_files", raising=False)
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(MissingExtra) as missing:
        open_lake("delta", str(tmp_path)).define(PEDIDOS, TableSpec(SCHEMA))
    assert missing.value.hint == "pip install 'datalab[delta]'"


@pytest.mark.parametrize(("used", "unused"), [("iceberg", "deltalake"), ("delta", "pyiceberg")])
def test_only_the_library_of_the_tables_is_loaded(tmp_path: Path, used: str, unused: str) -> None:
    open_lake(used, str(tmp_path)).define(PEDIDOS, TableSpec(SCHEMA))
    script = (
        "import sys; from datalab.lake.lake import open_lake; from datalab.names import TableName;"
        "assert not {'deltalake', 'pyiceberg', 'duckdb'} & set(sys.modules);"
        "lake = open_lake(sys.argv[1], sys.argv[2]);"
        "lake.require(TableName('bronze', 'pedidos')); lake.names(); lake.state(TableName('bronze', 'nada'));"
        "assert sys.argv[3] not in sys.modules, sys.argv[3]"
    )
    subprocess.run([sys.executable, "-c", script, used, str(tmp_path), unused], check=True, timeout=60)


def test_delta_refuses_a_folder_that_it_cannot_find_again(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="a percent-encoded character"):
        open_lake("delta", str(tmp_path / "a%20b")).define(PEDIDOS, TableSpec(SCHEMA))
    with pytest.raises(NotSupported, match="not a local folder"):
        open_lake("delta", "s3://lake/warehouse").format("delta")


def test_delta_has_no_time_of_day(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match=r"columns of type time \(bronze\.pedidos: hora\)"):
        open_lake("delta", str(tmp_path)).define(PEDIDOS, TableSpec(pa.schema([("hora", pa.time32("s"))])))


def test_iceberg_does_not_mind_the_names_of_folders_and_files(tmp_path: Path) -> None:
    lake = open_lake("iceberg", str(tmp_path / "a%20b ç"))
    state = lake.define(PEDIDOS, TableSpec(SCHEMA))
    after = lake.commit(state, change(write(state, pedidos(1, 3), stem="dl-mês=1%2F #é ")))
    assert [file.rows for file in lake.files(after).files] == [3]


@pytest.mark.parametrize("format_name", ["iceberg", "delta"])
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, format_name: str) -> None:
    lake = open_lake(format_name, str(tmp_path))
    state = lake.define(PEDIDOS, TableSpec(pa.schema([("id", pa.int64()), ("valor", pa.decimal128(10, 2))])))
    file = write(state, "SELECT 'x' AS id, 1.25::DECIMAL(10, 2) AS valor")
    with pytest.raises(SchemaConflict, match=r"changed column id from int64 to string"):
        lake.commit(state, change(file))
    less = write(state, "SELECT 1::BIGINT AS id")
    assert lake.files(lake.commit(state, change(less))).files == (DataFile(less.path, 1, less.size),)


def test_any_catalog_of_pyiceberg_may_be_configured(tmp_path: Path) -> None:
    warehouse = tmp_path / "lake"
    warehouse.mkdir()
    settings = {"type": "sql", "uri": f"sqlite:///{tmp_path}/elsewhere.db", "name": "prod"}
    lake = open_lake("iceberg", str(warehouse), settings)
    state = lake.define(PEDIDOS, TableSpec(SCHEMA, (PartitionField("feito_em", "months"),)))
    after = lake.commit(state, change(write(state, pedidos(1, 3), (673,)), kind="upsert"))
    again = open_lake("iceberg", str(warehouse), settings)
    assert again.names() == (PEDIDOS,)
    assert again.require(PEDIDOS) == after
    assert [file.partition for file in again.files(after).files] == [(673,)]
    with pytest.raises(Fenced):
        again.commit(state, change(write(state, pedidos(4, 4), (673,))))
    assert not (warehouse / "catalog.db").exists()


def test_a_warehouse_elsewhere_needs_a_catalog() -> None:
    with pytest.raises(InvalidSetting, match="the warehouse s3://lake/warehouse needs a catalog"):
        open_lake("iceberg", "s3://lake/warehouse").format("iceberg")


def test_pyiceberg_alone_may_make_the_catalog(tmp_path: Path) -> None:
    with plain_catalog(tmp_path) as catalog:
        catalog.create_namespace("bronze")
        made = catalog.create_table("bronze.pedidos", pa.schema([("id", pa.int64())]), f"{tmp_path}/outro lugar")
        made.append(pa.table({"id": [1, 2]}))
    lake = open_lake("iceberg", str(tmp_path))
    state = lake.require(PEDIDOS)
    assert ids(lake.files(state)) == [1, 2]
    wider = lake.define(PEDIDOS, TableSpec(pa.schema([("id", pa.int64()), ("uf", pa.string())]), comment="nosso"))
    after = lake.commit(wider, change(write(wider, "SELECT 3::BIGINT AS id, 'SP' AS uf")))
    with plain_catalog(tmp_path) as catalog:
        assert sorted(catalog.load_table("bronze.pedidos").scan().to_arrow()["id"].to_pylist()) == [1, 2, 3]
    assert ids(lake.files(after)) == [1, 2, 3]
