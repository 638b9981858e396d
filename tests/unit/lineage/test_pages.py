"""Texts in the pages of Parquet files: no file that holds one is ever passed over, few others are kept."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.field_ids import identified

from datalab.lake.table import DataFile
from datalab.lineage.pages import files_holding

TEXTS = st.sampled_from(["", "a", "aa", "ção", "x" * 300]) | st.text(max_size=3)
SCHEMA = pa.schema([("n", pa.int64()), ("texto", pa.string())])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    contents=st.lists(st.lists(TEXTS | st.none(), max_size=40), min_size=1, max_size=6),
    wanted=st.lists(TEXTS, min_size=1, max_size=3),
    codec=st.sampled_from(["zstd", "snappy", "gzip", "none", "lz4", "brotli"]),
    dictionary=st.booleans(),
    version=st.sampled_from(["1.0", "2.0"]),
    encoding=st.sampled_from([None, "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"]),
)
def test_files_of_arrow(contents, wanted, codec, dictionary, version, encoding):
    options = {"column_encoding": {"texto": encoding}} if encoding and not dictionary else {}
    with TemporaryDirectory() as folder:
        files = []
        for number, texts in enumerate(contents):
            path = f"{folder}/{number}.parquet"
            rows = pa.table({"n": [*range(len(texts))], "texto": pa.array(texts, pa.string())})
            pq.write_table(
                rows, path, compression=codec, use_dictionary=dictionary, data_page_version=version,
                row_group_size=7, data_page_size=64, dictionary_pagesize_limit=200, **options,
            )  # fmt: skip
            files.append(DataFile(path, len(texts), 1))
        kept = files_holding(files, SCHEMA.field("texto"), SCHEMA, wanted)
        holding = [file for file, texts in zip(files, contents, strict=True) if {*texts} & {*wanted}]
        assert {*holding} <= {*kept}


@pytest.mark.parametrize("codec", ["zstd", "snappy", "uncompressed"])
def test_files_of_duckdb(tmp_path: Path, codec: str) -> None:
    files = []
    for number in range(8):
        path = str(tmp_path / f"{number}.parquet")
        text = f"CASE WHEN i % 7 = 0 THEN NULL ELSE 'k' || {number} || '-' || (i % {10 ** (number % 5)}) END AS texto"
        duckdb.sql(
            f"COPY (SELECT i AS n, {text} FROM range(30_000) r(i)) TO '{path}' "
            f"(FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE 4096)"
        )
        files.append(DataFile(path, 30_000, 1))
    texto = SCHEMA.field("texto")
    assert files_holding(files, texto, SCHEMA, ["k3-999", "k2-99"]) == (files[2], files[3])
    assert files_holding(files, texto, SCHEMA, ["k4-9999"]) == (files[4],)
    assert files_holding(files, texto, SCHEMA, ["k5", "0", ""]) == ()
    assert len(files_holding(files, texto, SCHEMA, [f"x{number}" for number in range(17)])) == 8


def test_what_is_not_understood_may_hold_it(tmp_path: Path) -> None:
    schema = identified(SCHEMA)
    whole, cut, others, renamed, unlike = (tmp_path / name for name in ("whole", "cut", "others", "renamed", "unlike"))
    rows = pa.table({"n": [1], "texto": ["a"]}).cast(schema)
    pq.write_table(rows, whole)
    cut.write_bytes(whole.read_bytes()[:-9])
    pq.write_table(pa.table({"outro": [1]}), others)
    pq.write_table(rows.rename_columns(["n", "antes"]).cast(pa.schema([
        schema.field("n"), schema.field("texto").with_name("antes"),
    ])), renamed)  # fmt: skip
    pq.write_table(rows.set_column(1, schema.field("texto").with_type(pa.int64()), pa.array([5])), unlike)
    paths = [whole, cut, others, renamed, tmp_path / "gone", unlike]
    kept = {
        path.name: bool(files_holding([DataFile(str(path), 1, 1)] * 2, schema.field("texto"), schema, ["b"]))
        for path in paths
    }
    assert kept == {"whole": False, "cut": True, "others": True, "renamed": False, "gone": True, "unlike": True}
    assert files_holding([DataFile(str(renamed), 1, 1)], schema.field("texto"), schema, ["a"])
