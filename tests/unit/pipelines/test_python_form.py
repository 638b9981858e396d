"""The Python form declares the same things as SQL, and its mistakes name a line of the user's file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from tests.declared import parse_files, parse_sql

from datalab import pipelines as dp
from datalab.errors import PipelineError, PipelineSyntaxError
from datalab.names import TableName
from datalab.pipelines.graph import build_graph
from datalab.pipelines.model import Declarations

KNOWN = [TableName("bronze", "a"), TableName("bronze", "b")]


def parse(folder: Path, text: str) -> Declarations:
    file = folder / "pipelines" / "p.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text("from datalab import pipelines as dp\n" + dedent(text), encoding="utf-8")
    return parse_files([file], folder)


PYTHON = '''
SOURCE = "bronze.a"

@dp.temporary_view(comment="só os limpos")
def limpos():
    return f"SELECT * FROM STREAM {SOURCE} WHERE k IS NOT NULL"

@dp.table(name="silver.x", comment="c", partition_by=["months(t)", "uf"], format="delta")
@dp.expect("positivo", "v > 0")
@dp.expect_all_or_drop({"uf": "uf <> ''", "k": "k > 0"})
def x():
    return """
        SELECT *
        FROM STREAM limpos;
    """

@dp.expect_or_fail("n", "n > 0")
@dp.materialized_view(name="gold.z", cluster_by=["k"], table_properties={"a": 1})
def z():
    return "SELECT k, count(*) AS n FROM silver.x GROUP BY k"

dp.create_streaming_table("silver.y", schema="k BIGINT NOT NULL, v STRING", expect_all_or_fail={"v": "v <> ''"})
dp.create_auto_cdc_flow(
    "silver.y", "bronze.b", ["k"], "struct(t, u)", apply_as_deletes="op = 'D'", except_column_list=["op"], name="cdc",
)
dp.create_streaming_table("silver.w")

@dp.append_flow(target="silver.w")
def um():
    return "SELECT k FROM STREAM bronze.a"
'''
SQL = """
CREATE TEMPORARY VIEW limpos AS SELECT * FROM STREAM bronze.a WHERE k IS NOT NULL;
CREATE STREAMING TABLE silver.x (
  CONSTRAINT positivo EXPECT (v > 0),
  CONSTRAINT uf EXPECT (uf <> '') ON VIOLATION DROP ROW, CONSTRAINT k EXPECT (k > 0) ON VIOLATION DROP ROW
) USING delta PARTITIONED BY (months(t), uf) AS SELECT * FROM STREAM limpos;
CREATE MATERIALIZED VIEW gold.z (CONSTRAINT n EXPECT (n > 0) ON VIOLATION FAIL UPDATE) AS
  SELECT k, count(*) AS n FROM silver.x GROUP BY k;
CREATE STREAMING TABLE silver.y (k BIGINT NOT NULL, v STRING, CONSTRAINT v EXPECT (v <> '') ON VIOLATION FAIL UPDATE);
CREATE FLOW cdc AS AUTO CDC INTO silver.y FROM STREAM bronze.b KEYS (k) APPLY AS DELETE WHEN op = 'D'
  SEQUENCE BY struct(t, u) COLUMNS * EXCEPT (op);
CREATE STREAMING TABLE silver.w;
CREATE FLOW um AS INSERT INTO silver.w BY NAME SELECT k FROM STREAM bronze.a;
"""


def test_both_forms_declare_the_same(tmp_path: Path) -> None:
    python, sql = parse(tmp_path, PYTHON), parse_sql(SQL, "p.sql")
    from_python = {node.flow.name: node.code for node in build_graph(python, KNOWN).flows}
    assert from_python == {node.flow.name: node.code for node in build_graph(sql, KNOWN).flows}
    for one, other in zip(python.datasets, sql.datasets, strict=True):
        assert (one.kind, one.name, one.view, one.partition) == (other.kind, other.name, other.view, other.partition)
    silver, gold = python.datasets[1], python.datasets[2]
    assert (silver.comment, silver.format) == ("c", "delta")
    assert (gold.cluster, gold.properties) == (("k",), {"a": "1"})
    assert str(silver.origin) == "pipelines/p.py:9:1"


def test_places_inside_a_query_are_places_in_the_python_file(tmp_path: Path) -> None:
    text = '''
    @dp.materialized_view(name="gold.z")
    def z():
        return """
            SELECT k,, v
            FROM bronze.a
        """
    '''
    with pytest.raises(PipelineSyntaxError, match=r"^pipelines/p\.py:6:17: a comma"):
        parse(tmp_path, text)


ERRORS = [
    ("1 / 0", "pipelines/p.py:2:1: ZeroDivisionError: division by zero"),
    ("def f(:", "pipelines/p.py:2:7: invalid syntax"),
    ("raise SystemExit(3)", "pipelines/p.py:2:1: SystemExit: 3"),
    (
        '@dp.table(name="silver.x")\ndef x():\n    return missing',
        "pipelines/p.py:4:1: NameError: name 'missing' is not defined",
    ),
    (
        '@dp.table(name="silver.x")\ndef x():\n    return 3',
        "pipelines/p.py:2:1: silver.x answered int, not a query",
    ),
    ('@dp.table(name="x")\ndef x():\n    return ""', "pipelines/p.py:2:1: 'x' is not a table name"),
    (
        '\ndp.create_streaming_table("silver.x", patition_by=["a"])',
        "pipelines/p.py:3:1: TypeError: unknown option 'patition_by'; known are cluster_by, comment, expect_all, "
        "expect_all_or_drop, expect_all_or_fail, format, partition_by, schema, table_properties",
    ),
    ('dp.create_streaming_table("silver.x", partition_by="a")', "pipelines/p.py:2:1: partition_by is 'a'"),
    (
        'dp.create_streaming_table("silver.x", partition_by=["bucket(a)"])',
        "pipelines/p.py:2:1: 'bucket(a)' is not a partition field",
    ),
    (
        'dp.create_streaming_table("silver.x", table_properties={"datalab.marc_rows": 1})',
        "pipelines/p.py:2:1: there is no property datalab.marc_rows to set",
    ),
    (
        'dp.create_streaming_table("silver.x", table_properties={"datalab.mark_rows": 1.5})',
        "pipelines/p.py:2:1: datalab.mark_rows cannot be '1.5'",
    ),
    ('dp.create_streaming_table("silver.x", table_properties=["a"])', "pipelines/p.py:2:1: table_properties is ['a']"),
    ('dp.create_streaming_table("silver.x", format="parquet")', "pipelines/p.py:2:1: 'parquet' is not a table format"),
    (
        'dp.create_auto_cdc_flow("silver.x", "bronze.a", ["k"], "t", stored_as_scd_type=3)',
        "pipelines/p.py:2:1: stored_as_scd_type is 3",
    ),
    (
        'dp.create_streaming_table("silver.x")\ndp.create_streaming_table("silver.x")',
        "pipelines/p.py:3:1: silver.x is declared twice; the first time in pipelines/p.py:2:1",
    ),
    (
        'dp.create_streaming_table("silver.x", expect_all={"a": "a >"})',
        "pipelines/p.py:2:59: the query does not follow the Spark dialect near '>': something is missing",
    ),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_mistakes_name_the_line_of_the_users_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parse(tmp_path, text)
    assert caught.value.message.splitlines()[0] == message
    assert caught.value.hint


def test_files_do_not_share_names_and_sql_and_python_go_together(tmp_path: Path) -> None:
    first, second, sql = tmp_path / "a.py", tmp_path / "b.py", tmp_path / "c.sql"
    head = "from datalab import pipelines as dp\n"
    first.write_text(head + "name = 'silver.x'\ndp.create_streaming_table(name)")
    second.write_text(head + "assert 'name' not in globals()")
    sql.write_text("\ufeffCREATE FLOW f AS INSERT INTO silver.x SELECT * FROM STREAM bronze.a", encoding="utf-8")
    declared = parse_files([first, second, sql], tmp_path)
    assert [str(dataset.name) for dataset in declared.datasets] == ["silver.x"]
    assert [str(flow.origin) for flow in declared.flows] == ["c.sql:1:1"]
    sql.write_text("CREATE STREAMING TABLE silver.x")
    with pytest.raises(PipelineError, match=r"c\.sql:1:1: silver\.x is declared twice; the first time in a\.py:3:1"):
        parse_files([first, second, sql], tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_bytes(b"SET a = '\xff'")
    with pytest.raises(PipelineSyntaxError, match=r"^x\.sql:1:1: the file cannot be read"):
        parse_files([tmp_path / "x.sql"], tmp_path)


def test_declarations_outside_of_a_run_have_no_effect() -> None:
    @dp.table(name="silver.x")
    @dp.expect("a", "a > 0")
    def x() -> str:
        return "SELECT 1"

    dp.create_streaming_table("silver.y")
    assert x() == "SELECT 1"


def test_importing_the_decorators_loads_no_parser_and_no_engine() -> None:
    code = (
        "import sys; from datalab import pipelines as dp; dp.table, dp.append_flow, dp.expect_or_drop;"
        "print(sorted({'sqlglot', 'duckdb', 'pyarrow', 'polars', 'pyiceberg'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
