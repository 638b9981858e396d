"""Which statements the language accepts, what they become, and how it refuses the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.declared import parse_sql

from datalab.errors import DataLabError, PipelineError, PipelineSyntaxError, UnsupportedStatement
from datalab.lake.table import PartitionField
from datalab.names import TableName
from datalab.pipelines.model import Column, Dataset, Declarations, Flow
from datalab.pipelines.query import is_stream
from datalab.pipelines.views import tables_of

SILVER = TableName("silver", "x")


def parse(text: str) -> Declarations:
    return parse_sql(text, "p.sql")


def dataset(text: str) -> Dataset:
    (found,) = parse(text).datasets
    return found


def flow(text: str) -> Flow:
    (found,) = parse(text).flows
    return found


def streams(found: Flow) -> dict[str, bool]:
    return {f"{table.db}.{table.name}".lstrip("."): is_stream(table) for table in tables_of(found.query)}


DESIGN = """
CREATE TEMPORARY VIEW limpos AS SELECT *, data AS d FROM STREAM bronze.dados_produtores_agro;
CREATE STREAMING TABLE silver.dados_produtores (
  CONSTRAINT score_valido EXPECT (serasa_score BETWEEN 0 AND 1000) ON VIOLATION DROP ROW
) PARTITIONED BY (localizacao_uf) COMMENT '…';
CREATE FLOW atualiza AS AUTO CDC INTO silver.dados_produtores FROM STREAM limpos
  KEYS (proponente_id, data_solicitacao) SEQUENCE BY ingestion_timestamp;   -- also: APPLY AS DELETE WHEN, COLUMNS
CREATE MATERIALIZED VIEW gold.proponente_features_agro AS
  SELECT proponente_id, count(*) AS total FROM silver.dados_produtores GROUP BY proponente_id;
"""


def test_the_text_of_the_design_parses() -> None:
    declared = parse(DESIGN)
    assert [str(d.name or d.view) for d in declared.datasets] == [
        "limpos",
        "silver.dados_produtores",
        "gold.proponente_features_agro",
    ]
    assert [(f.name, f.kind) for f in declared.flows] == [
        ("atualiza", "auto_cdc"),
        ("gold.proponente_features_agro", "materialize"),
    ]


QUERY = "SELECT a FROM STREAM bronze.x"
ACCEPTED = [
    f"CREATE STREAMING TABLE silver.x AS {QUERY}",
    f"create or refresh streaming table if not exists Silver.X as {QUERY}",
    f"CREATE STREAMING TABLE `silver`.`x` (a INT) USING iceberg AS {QUERY}",
    f"CREATE STREAMING TABLE silver.x USING DELTA CLUSTER BY (a) COMMENT 'c' AS {QUERY}",
    f"CREATE STREAMING TABLE silver.x TBLPROPERTIES ('a.b' = 'c', d.e = 3, f true) COMMENT 'c' AS {QUERY}",
    f"CREATE STREAMING TABLE silver.x TBLPROPERTIES (datalab.file_rows = 0, 'datalab.mark_rows' = '7') AS {QUERY}",
    "CREATE STREAMING TABLE silver.x TBLPROPERTIES ('delta.appendOnly' = 'x', 'pipelines.reset.allowed' = 'false', "
    f"'write.merge.mode' = 'Merge-on-Read', 'write.merge.modes' = 'x', quality = 'silver') AS {QUERY}",
    f"CREATE STREAMING TABLE silver.x (a STRING NOT NULL COMMENT 'x', CONSTRAINT c EXPECT (a <> ')')) AS {QUERY}",
    "CREATE STREAMING TABLE silver.x",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS gold.y (a INT COMMENT 'x', b STRUCT<c: INT, d: MAP<STRING, INT>>) AS "
    "SELECT 1 AS a, b FROM silver.x",
    "CREATE OR REFRESH MATERIALIZED VIEW gold.y PARTITIONED BY (months(a), b) AS WITH c AS (SELECT 1) SELECT * FROM c",
    "CREATE MATERIALIZED VIEW gold.y AS (SELECT 1 AS a)",
    "CREATE MATERIALIZED VIEW gold.y AS SELECT 1 AS a UNION ALL SELECT 2",
    "CREATE MATERIALIZED VIEW gold.y AS SELECT a, row_number() OVER (ORDER BY b) n FROM silver.x QUALIFY n = 1",
    "CREATE TEMPORARY VIEW v AS SELECT 1",
    "CREATE TEMP VIEW IF NOT EXISTS `v` COMMENT 'x' AS SELECT 1",
    f"CREATE FLOW f AS INSERT INTO silver.x BY NAME {QUERY}",
    f"CREATE FLOW f COMMENT 'c' AS INSERT INTO silver.x {QUERY}",
    "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a) SEQUENCE BY b",
    "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM(bronze.x) KEYS (a, b) SEQUENCE BY STRUCT(c, d)",
    "CREATE FLOW f AS AUTO CDC INTO silver.x FROM (SELECT a, b FROM STREAM bronze.x) KEYS (a) SEQUENCE BY b",
    "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a) STORED AS SCD TYPE 1 COLUMNS (a, b) "
    "SEQUENCE BY b APPLY AS DELETE WHEN op = 'D'",
    "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a) COLUMNS * EXCEPT (op) "
    "APPLY AS DELETE WHEN op = 'D' SEQUENCE BY b STORED AS SCD TYPE 2 TRACK HISTORY ON * EXCEPT (c)",
    "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a) SEQUENCE BY b STORED AS SCD TYPE 2 "
    "TRACK HISTORY ON (c, d)",
    "CREATE STREAMING TABLE silver.x (a INT) COMMENT 'c' FLOW AUTO CDC FROM STREAM bronze.x KEYS (a) SEQUENCE BY b",
    "APPLY CHANGES INTO silver.x FROM STREAM(bronze.x) KEYS (a) SEQUENCE BY b STORED AS SCD TYPE 1",
    "SET a.b = c",
    ";;SET a = 'x;y';;",
    "",
    "-- nothing but a comment",
    "/* a /* nested */ comment ; */ CREATE TEMPORARY VIEW v AS SELECT ';--' AS a, \"/*\" AS b, `;` FROM t -- ;",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted(text: str) -> None:
    parse(text)


UNSUPPORTED = [
    (f"CREATE STREAMING TABLE silver.x SCHEDULE EVERY 1 HOUR AS {QUERY}", "SCHEDULE", "schedules"),
    (f"CREATE STREAMING TABLE silver.x SCHEDULE REFRESH CRON '…' AS {QUERY}", "SCHEDULE", "schedules"),
    (f"CREATE STREAMING TABLE silver.x TRIGGER ON UPDATE AS {QUERY}", "TRIGGER", "schedules"),
    (f"CREATE STREAMING TABLE silver.x (a STRING MASK f) AS {QUERY}", "MASK", "query"),
    (f"CREATE STREAMING TABLE silver.x WITH ROW FILTER f ON (a) AS {QUERY}", "WITH ROW FILTER", "filter"),
    (f"CREATE STREAMING TABLE silver.x (a INT PRIMARY KEY) AS {QUERY}", "PRIMARY KEY", "KEYS"),
    (f"CREATE STREAMING TABLE silver.x (a INT DEFAULT 1) AS {QUERY}", "DEFAULT", "coalesce"),
    (f"CREATE STREAMING TABLE silver.x (a INT GENERATED ALWAYS AS (1)) AS {QUERY}", "GENERATED", "compute"),
    (f"CREATE STREAMING TABLE silver.x (a INT, CONSTRAINT k PRIMARY KEY (a)) AS {QUERY}", "PRIMARY KEY", "KEYS"),
    (f"CREATE STREAMING TABLE silver.x USING parquet AS {QUERY}", "USING parquet", "USING iceberg"),
    (f"CREATE STREAMING TABLE silver.x CLUSTER BY AUTO AS {QUERY}", "CLUSTER BY AUTO", "CLUSTER BY (a, b)"),
    (f"CREATE STREAMING TABLE silver.x PARTITIONED BY (bucket(4, a)) AS {QUERY}", "transform bucket", "months"),
    (f"CREATE STREAMING TABLE silver.x PARTITIONED BY (a INT) AS {QUERY}", "type in PARTITIONED BY", "column only"),
    (f"CREATE STREAMING TABLE silver.x LOCATION '/x' AS {QUERY}", "LOCATION", "warehouse"),
    ("CREATE PRIVATE STREAMING TABLE silver.x AS SELECT 1", "CREATE PRIVATE", "TEMPORARY VIEW"),
    ("CREATE STREAMING LIVE TABLE x AS SELECT 1", "CREATE STREAMING LIVE", "STREAMING TABLE"),
    ("CREATE LIVE TABLE x AS SELECT 1", "CREATE LIVE", "MATERIALIZED VIEW"),
    ("CREATE TEMPORARY LIVE VIEW x AS SELECT 1", "CREATE TEMPORARY LIVE", "TEMPORARY VIEW"),
    ("CREATE TEMPORARY TABLE x AS SELECT 1", "CREATE TEMPORARY TABLE", "TEMPORARY VIEW"),
    ("CREATE OR REPLACE MATERIALIZED VIEW gold.x AS SELECT 1", "CREATE OR REPLACE", "OR REFRESH"),
    ("CREATE TABLE silver.x AS SELECT 1", "CREATE TABLE", "STREAMING TABLE"),
    ("CREATE VIEW v AS SELECT 1", "CREATE VIEW", "TEMPORARY VIEW"),
    ("CREATE SCHEMA silver", "CREATE SCHEMA", "leave it out"),
    ("CREATE TEMPORARY VIEW v (a) AS SELECT 1", "column list of a temporary view", "expr AS name"),
    ("CREATE TEMPORARY VIEW v TBLPROPERTIES ('a' = 'b') AS SELECT 1", "TBLPROPERTIES of a temporary view", "stored"),
    ("CREATE FLOW f AS INSERT OVERWRITE silver.x SELECT 1", "INSERT OVERWRITE", "MATERIALIZED VIEW"),
    (f"CREATE FLOW f AS INSERT INTO ONCE silver.x {QUERY}", "INSERT INTO ONCE", "STREAM"),
    (f"CREATE FLOW f AS INSERT INTO silver.x (a) {QUERY}", "column list of INSERT", "BY NAME"),
    (
        "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a) IGNORE NULL UPDATES SEQUENCE BY b",
        "IGNORE NULL",
        "coalesce",
    ),
    (
        "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a) APPLY AS TRUNCATE WHEN b SEQUENCE BY b",
        "APPLY AS TRUNCATE",
        "full-refresh",
    ),
    (
        "CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a.b) SEQUENCE BY b",
        "field of a struct",
        "name of its own",
    ),
    ("CREATE STREAMING TABLE silver.x AS SELECT * FROM STREAM read_files('/x')", "read_files", "source"),
    ("CREATE STREAMING TABLE silver.x AS SELECT * FROM STREAM(read_files('/x'))", "read_files", "source"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT * FROM read_files('/x')", "READ_FILES('/x')", "source"),
    (f"CREATE STREAMING TABLE silver.x AS {QUERY} WATERMARK ts DELAY OF INTERVAL 10 MINUTES", "WATERMARK", "late"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT * FROM a.b CHANGES FROM VERSION 1 TO VERSION 2", "CHANGES", "STREAM"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT * FROM a.b VERSION AS OF 3", "time travel", "--at"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT * FROM a.b@v1", "time travel", "--at"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT * FROM a.b.c", "catalog in a.b.c", "layer.table"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT date_format(d, 'YYYY') FROM a.b", "letter Y", "write y"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT get_json_object(s, 'a') FROM a.b", "begin with $", "without the $"),
    ("INSERT INTO silver.x SELECT 1", "INSERT in a pipeline file", "CREATE FLOW"),
    ("MERGE INTO silver.x USING y ON a = b", "MERGE in a pipeline file", "AUTO CDC"),
    ("SELECT 1", "SELECT in a pipeline file", "MATERIALIZED VIEW"),
    ("USE CATALOG c", "USE in a pipeline file", "CREATE"),
]


@pytest.mark.parametrize(("text", "named", "hint"), UNSUPPORTED)
def test_unsupported_grammar_is_named_with_what_to_do_instead(text: str, named: str, hint: str) -> None:
    with pytest.raises(UnsupportedStatement) as caught:
        parse(text)
    assert caught.value.message.startswith("p.sql:1:")
    assert named in caught.value.message.splitlines()[0]
    assert hint in caught.value.hint


SYNTAX = [
    ("CREATE STREAMING TABLE x AS SELECT 1", 24, "'x' is not a table name"),
    ("CREATE STREAMING TABEL silver.x", 8, "expected STREAMING TABLE"),
    ("CREAT STREAMING TABLE silver.x", 1, "expected a statement"),
    ("CREATE MATERIALIZED VIEW gold.x", 32, "expected AS"),
    ("CREATE MATERIALIZED VIEW gold.x AS", 35, "expected a query"),
    ("CREATE MATERIALIZED VIEW gold.x AS 1 + 1", 36, "expected a query"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT a b c FROM t", 47, "near 'c'"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT f(a FROM t", 47, "Expecting )"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT a,, b FROM t", 44, "a comma with nothing behind it"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT a, FROM t", 44, "a comma with nothing behind it"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT 'a FROM t", 43, "a string that never ends"),
    ("CREATE MATERIALIZED VIEW gold.x AS SELECT `a FROM t", 43, "a quoted name that never ends"),
    ("SET a = 1; /* x /* y */", 12, "a comment that never ends"),
    ("CREATE STREAMING TABLE silver.x COMMENT 'a' COMMENT 'b'", 45, "COMMENT is given twice"),
    ("CREATE STREAMING TABLE silver.x PARTITIONED BY (a) CLUSTER BY (a)", 66, "not both"),
    ("CREATE STREAMING TABLE silver.x (a INT, A INT)", 41, "A is declared twice"),
    ("CREATE STREAMING TABLE silver.x (a INTT)", 36, "'INTT' is not a type"),
    ("CREATE STREAMING TABLE silver.x (a INT", 39, "expected NOT NULL, COMMENT"),
    ("CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT a > 1)", 54, "expected ("),
    ("CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT (a > ))", 57, "near '>'"),
    ("CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT (a) ON VIOLATION DROP)", 71, "DROP ROW or FAIL UPDATE"),
    ("CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT ((SELECT 1)))", 55, "columns of one row"),
    ("CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT (count(*) > 1))", 55, "columns of one row"),
    ("CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT (lag(a) OVER (ORDER BY a) < a))", 55, "columns of one row"),
    ("CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT (explode(a) > 1))", 55, "columns of one row"),
    ("CREATE FLOW f AS SELECT 1", 18, "expected INSERT"),
    ("CREATE FLOW f AS AUTO CDC INTO silver.x FROM bronze.x KEYS (a) SEQUENCE BY b", 46, "AUTO CDC reads a stream"),
    ("CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x SEQUENCE BY b KEYS (a)", 62, "expected KEYS"),
    ("CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a)", 70, "expected SEQUENCE BY"),
    ("CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM bronze.x KEYS (a, A) SEQUENCE BY b", 71, "named twice"),
    ("CREATE FLOW f AS AUTO CDC INTO a.x FROM STREAM b.x KEYS (a) SEQUENCE BY b SEQUENCE BY c", 75, "given twice"),
    ("CREATE FLOW f AS AUTO CDC INTO a.x FROM STREAM b.x KEYS (a) SEQUENCE BY b STORED AS SCD TYPE 3", 94, "1 or 2"),
    (
        "CREATE FLOW f AS AUTO CDC INTO a.x FROM STREAM b.x KEYS (a) SEQUENCE BY b TRACK HISTORY ON (c)",
        95,
        "needs history",
    ),
    ("CREATE STREAMING TABLE a.x FLOW AUTO CDC INTO a.x FROM STREAM b.x KEYS (a) SEQUENCE BY b", 42, "expected FROM"),
    ("CREATE STREAMING TABLE silver.x AS SELECT * FROM STREAM (SELECT 1)", 50, "STREAM takes the name"),
    ("SET a", 6, "expected ="),
    ("CREATE TEMPORARY VIEW silver.v AS SELECT 1", 29, "a name of one part"),
]  # fmt: skip


PROPERTIES = [
    ("'datalab.file_row' = 3", 1, "there is no property datalab.file_row to set"),
    ("a = 1, DataLab.Mark_Rows = 3", 8, "there is no property DataLab.Mark_Rows to set"),
    ("'datalab.positions' = '{}'", 1, "there is no property datalab.positions to set"),
    ("'datalab.cluster_by' = 'a'", 1, "datalab.cluster_by is not set as a property"),
    ("'datalab.mark_rows' = 'many'", 23, "datalab.mark_rows cannot be 'many'"),
    ("'datalab.file_rows' = 1.5", 23, "datalab.file_rows cannot be '1.5'"),
    ("'write.merge.mode' = 'copy-on-wrte'", 22, "write.merge.mode cannot be 'copy-on-wrte'"),
    ("a.b = 1, 'a.b' = 2", 10, "a.b is set twice"),
]


@pytest.mark.parametrize(("text", "column", "message"), PROPERTIES)
def test_properties_of_ours_are_known_by_name_and_value(text: str, column: int, message: str) -> None:
    head = "CREATE STREAMING TABLE silver.x TBLPROPERTIES ("
    with pytest.raises(PipelineSyntaxError) as caught:
        parse(f"{head}{text})")
    assert caught.value.message.startswith(f"p.sql:1:{len(head) + column}: ")
    assert message in caught.value.message.splitlines()[0]
    assert caught.value.hint


def test_a_property_that_is_none_of_ours_is_answered_with_those_that_are() -> None:
    with pytest.raises(PipelineSyntaxError) as caught:
        parse("CREATE STREAMING TABLE silver.x TBLPROPERTIES ('datalab.file_row' = 3)")
    assert caught.value.hint == "did you mean datalab.file_rows? known are datalab.file_rows, datalab.mark_rows"


def aggregates() -> list[str]:
    """All that the page of the engine lists as aggregates."""
    page = (Path(__file__).parents[3] / "docs" / "engine.md").read_text(encoding="utf-8")
    listed = re.search(r"\*\*Aggregates\*\*: `([^`]+)`", page)
    assert listed
    return listed[1].split()


CALLS = {
    **dict.fromkeys(("approx_percentile", "percentile", "percentile_approx"), "(a, 0.5)"),
    **dict.fromkeys(("covar_pop", "covar_samp", "max_by", "min_by"), "(a, b)"),
    "percentile_cont": "(0.5) WITHIN GROUP (ORDER BY a)",
}


@pytest.mark.parametrize("name", aggregates())
@pytest.mark.parametrize("after", ["", " FILTER (WHERE b > 0)"], ids=["plain", "filtered"])
def test_no_aggregate_stands_in_a_constraint(name: str, after: str) -> None:
    with pytest.raises(PipelineSyntaxError, match="columns of one row"):
        parse(f"CREATE STREAMING TABLE silver.x (CONSTRAINT c EXPECT (a > {name}{CALLS.get(name, '(a)')}{after}))")


@pytest.mark.parametrize(("text", "column", "message"), SYNTAX)
def test_syntax_errors_point_at_the_place(text: str, column: int, message: str) -> None:
    with pytest.raises(PipelineSyntaxError) as caught:
        parse(f"-- a comment\n{text}")
    first, *shown = caught.value.message.splitlines()
    assert first.startswith(f"p.sql:2:{column}: ")
    assert message in first
    if shown:
        assert shown == [f"    {text}", "    " + " " * (column - 1) + "^"]


def test_the_caret_points_below_the_line_of_a_query_that_spans_several() -> None:
    text = "SET a = 'ü;';\n\nCREATE MATERIALIZED VIEW gold.x AS\n  SELECT a,\n\tb c d\n  FROM t;"
    with pytest.raises(PipelineSyntaxError) as caught:
        parse(text)
    assert caught.value.message.splitlines() == [
        "p.sql:5:6: the query does not follow the Spark dialect near 'd': Invalid expression / Unexpected token",
        "     b c d",
        "         ^",
    ]
    assert caught.value.hint


def test_columns_constraints_and_clauses() -> None:
    found = dataset(
        """CREATE STREAMING TABLE silver.x (
             a BIGINT NOT NULL COMMENT 'it''s; a',
             `b c` STRUCT<d: ARRAY<INT>, e: DECIMAL(10, 2)> COMMENT "b",
             CONSTRAINT warned EXPECT (a > 0),
             CONSTRAINT dropped EXPECT (a IN (1, 2)) ON VIOLATION DROP ROW,
             CONSTRAINT failed EXPECT (`b c`.d IS NOT NULL) ON VIOLATION FAIL UPDATE
           ) USING delta PARTITIONED BY (a, month(f), years(g))
           COMMENT 'line\\none' TBLPROPERTIES ('k' = 'v', x.y = 1)"""
    )
    assert found.columns == (
        Column("a", "BIGINT", "it's; a", nullable=False),
        Column("b c", "STRUCT<d: ARRAY<INT>, e: DECIMAL(10, 2)>", "b"),
    )
    assert [(rule.name, rule.condition.sql("spark"), rule.action) for rule in found.constraints] == [
        ("a_not_null", "NOT a IS NULL", "fail"),
        ("warned", "a > 0", "warn"),
        ("dropped", "a IN (1, 2)", "drop"),
        ("failed", "NOT `b c`.d IS NULL", "fail"),
    ]
    assert found.partition == (PartitionField("a"), PartitionField("f", "months"), PartitionField("g", "years"))
    assert (found.comment, found.format, found.properties) == ("line\none", "delta", {"k": "v", "x.y": "1"})
    assert str(found.constraints[1].origin) == "p.sql:4:14"


def test_clauses_of_auto_cdc_in_any_order() -> None:
    found = flow(
        """CREATE FLOW f COMMENT 'c' AS AUTO CDC INTO silver.x FROM (SELECT * FROM STREAM bronze.x WHERE a > 1)
           KEYS (k, l) TRACK HISTORY ON (c) COLUMNS * EXCEPT (op, n) STORED AS SCD TYPE 2
           APPLY AS DELETE WHEN op = 'D' AND columns > 1 SEQUENCE BY STRUCT(n, m)"""
    )
    cdc = found.cdc
    assert cdc is not None
    assert (found.name, found.target, found.kind, found.comment) == ("f", SILVER, "auto_cdc", "c")
    assert (cdc.keys, cdc.except_columns, cdc.columns) == (("k", "l"), ("op", "n"), ())
    assert (cdc.scd_type, cdc.track_history) == (2, ("c",))
    assert cdc.sequence_by.sql("spark") == "STRUCT(n AS n, m AS m)"
    assert cdc.delete_when is not None
    assert cdc.delete_when.sql("spark") == "op = 'D' AND columns > 1"
    assert streams(found) == {"bronze.x": True}


@pytest.mark.parametrize(
    "text",
    [
        "CREATE STREAMING TABLE silver.x; CREATE FLOW `silver`.x AS AUTO CDC INTO silver.x {}",
        "CREATE STREAMING TABLE silver.x FLOW AUTO CDC {}",
        "CREATE STREAMING TABLE silver.x; APPLY CHANGES INTO silver.x {}",
    ],
)
def test_the_three_spellings_of_auto_cdc_are_one(text: str) -> None:
    found = flow(text.format("FROM STREAM bronze.x KEYS (a) SEQUENCE BY b"))
    assert (found.name, found.target, found.kind, found.by_name) == ("silver.x", SILVER, "auto_cdc", True)
    assert found.cdc is not None
    assert found.cdc.keys == ("a",)
    assert found.query.sql("spark") == "SELECT * FROM bronze.x"
    assert streams(found) == {"bronze.x": True}


STREAMS = [
    ("SELECT * FROM STREAM b.x", {"b.x": True}),
    ("SELECT * FROM stream(b.x) s", {"b.x": True}),
    ("SELECT * FROM STREAM ( `b` . `x` ) AS s JOIN c.y ON s.a = y.a", {"b.x": True, "c.y": False}),
    ("SELECT * FROM c.y JOIN STREAM b.x USING (a)", {"c.y": False, "b.x": True}),
    ("SELECT * FROM c.y, STREAM b.x", {"c.y": False, "b.x": True}),
    ("SELECT * FROM (SELECT stream, a FROM STREAM v) t", {"v": True}),
    ("WITH w AS (SELECT * FROM STREAM b.x) SELECT * FROM w", {"b.x": True}),
    ("SELECT stream, a AS stream, t.stream FROM c.y t", {"c.y": False}),
    ("SELECT a stream FROM c.y GROUP BY stream, b", {"c.y": False}),
    ("SELECT f(stream), EXTRACT(YEAR FROM stream) FROM c.y ORDER BY stream, b", {"c.y": False}),
    ("SELECT a IS DISTINCT FROM stream AS b FROM c.y", {"c.y": False}),
    ("SELECT * FROM stream", {"stream": False}),
    ("SELECT * FROM stream AS s", {"stream": False}),
    ("SELECT * FROM stream WHERE a = 1", {"stream": False}),
    ("SELECT * FROM stream.x", {"stream.x": False}),
    ("SELECT * FROM STREAM stream.x", {"stream.x": True}),
    ("SELECT * FROM c.y stream", {"c.y": False}),
    ("SELECT 'FROM STREAM b.x' AS a FROM c.y -- FROM STREAM b.z", {"c.y": False}),
    ("SELECT * FROM c.y WHERE a IN (SELECT b FROM STREAM b.x)", {"c.y": False, "b.x": True}),
    ("SELECT * FROM STREAM b.x UNION ALL SELECT * FROM c.y", {"b.x": True, "c.y": False}),
]


@pytest.mark.parametrize(("query", "expected"), STREAMS)
def test_the_word_stream_marks_a_table_only_where_a_table_stands(query: str, expected: dict[str, bool]) -> None:
    assert streams(flow(f"CREATE MATERIALIZED VIEW gold.y AS {query}")) == expected


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("'a''b'", "a'b"),
        (r"'a\'b'", "a'b"),
        ('"a""b"', 'a"b'),
        (r"'a\nb'", "a\nb"),
        (r"r'a\b'", r"a\b"),
        ("'--;'", "--;"),
    ],
)
def test_strings_of_queries_mean_what_they_mean_in_spark(literal: str, value: str) -> None:
    (selected,) = flow(f"CREATE MATERIALIZED VIEW gold.y AS SELECT {literal} AS a").query.selects
    assert selected.unalias().name == value


def test_nodes_know_their_place_in_the_file() -> None:
    text = "SET a = 1;\nCREATE MATERIALIZED VIEW gold.y AS\n  SELECT minha_coluna,\n         upper(outra) FROM silver.x"
    query = flow(text).query
    places = {node.name: (node.meta["line"], node.meta["col"], node.meta["file"]) for node in query.walk() if node.meta}
    assert places["minha_coluna"] == (3, 10, "p.sql")
    assert places["outra"] == (4, 16, "p.sql")
    assert places["silver"] == (4, 28, "p.sql")


def test_settings() -> None:
    assert parse("SET a.b = c d; SET e = 'f;g'; SET a.b = c d").settings == {"a.b": "c d", "e": "f;g"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SET a = 1;\nSET a = 2", "p.sql:2:1: SET a is declared twice; the first time in p.sql:1:1"),
        (
            "CREATE TEMPORARY VIEW v AS SELECT 1;\nCREATE TEMPORARY VIEW V AS SELECT 2",
            "p.sql:2:1: v is declared twice; the first time in p.sql:1:1",
        ),
        (
            f"CREATE STREAMING TABLE silver.x AS {QUERY};\n CREATE MATERIALIZED VIEW silver.x AS SELECT 1",
            "p.sql:2:2: silver.x is declared twice; the first time in p.sql:1:1",
        ),
        (
            f"CREATE FLOW f AS INSERT INTO silver.x {QUERY};\nCREATE FLOW F AS INSERT INTO silver.y {QUERY}",
            "p.sql:2:1: flow f is declared twice; the first time in p.sql:1:1",
        ),
    ],
)
def test_a_name_declared_twice_names_both_places(text: str, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parse(text)
    assert caught.value.message == message


def test_every_error_has_a_hint() -> None:
    for text, *_ in [*UNSUPPORTED, *SYNTAX]:
        with pytest.raises(DataLabError) as caught:
            parse(text)
        assert caught.value.hint, caught.value.message
