"""Names, views, order and circles of a project's declarations."""

from __future__ import annotations

import pytest
from tests.declared import parse_sql

from datalab.errors import PipelineCycle, PipelineError, UnknownTable
from datalab.names import TableName
from datalab.pipelines.graph import Graph, build_graph

KNOWN = [TableName("bronze", "a"), TableName("bronze", "b")]


def graph(text: str) -> Graph:
    return build_graph(parse_sql(text, "p.sql"), KNOWN)


def inputs(built: Graph, flow: str) -> dict[str, bool]:
    (node,) = [node for node in built.flows if node.flow.name == flow]
    return {str(read.table): read.stream for read in node.inputs}


def query(built: Graph, flow: str) -> str:
    (node,) = [node for node in built.flows if node.flow.name == flow]
    assert node.query is node.flow.query
    return node.query.sql("spark")


CHAIN = """
CREATE MATERIALIZED VIEW gold.z AS SELECT * FROM silver.y JOIN Silver.X USING (k);
CREATE MATERIALIZED VIEW silver.y AS SELECT * FROM silver.x;
CREATE STREAMING TABLE silver.x;
CREATE FLOW one AS INSERT INTO silver.x BY NAME SELECT * FROM STREAM bronze.a;
CREATE FLOW two AS INSERT INTO silver.x BY NAME SELECT * FROM STREAM bronze.b;
"""


def test_flows_stand_behind_all_flows_into_what_they_read() -> None:
    built = graph(CHAIN)
    assert [node.flow.name for node in built.flows] == ["one", "two", "silver.y", "gold.z"]
    assert [node.leads for node in built.flows] == [True, False, True, True]
    assert inputs(built, "gold.z") == {"silver.y": False, "silver.x": False}
    assert inputs(built, "one") == {"bronze.a": True}
    assert [node.flow.name for node in built.into(TableName("silver", "x"))] == ["one", "two"]
    assert built.sources == frozenset(KNOWN)
    assert query(built, "gold.z") == "SELECT * FROM silver.y JOIN silver.x USING (k)"


def test_views_are_written_into_the_queries_that_read_them() -> None:
    built = graph(
        """CREATE TEMPORARY VIEW clean AS SELECT * FROM Raw WHERE k IS NOT NULL;
           CREATE TEMPORARY VIEW raw AS SELECT a.*, 1 AS one FROM STREAM bronze.a;
           CREATE STREAMING TABLE silver.x AS SELECT clean.k FROM STREAM clean"""
    )
    assert inputs(built, "silver.x") == {"bronze.a": True}
    assert query(built, "silver.x") == (
        "WITH raw AS (SELECT a.*, 1 AS one FROM bronze.a), "
        "clean AS (SELECT * FROM raw AS Raw WHERE NOT k IS NULL) SELECT clean.k FROM clean AS clean"
    )


def test_stream_of_a_view_reads_its_table_as_a_stream() -> None:
    built = graph(
        """CREATE TEMPORARY VIEW v AS SELECT * FROM w;
           CREATE TEMPORARY VIEW w AS SELECT * FROM bronze.a;
           CREATE STREAMING TABLE silver.x AS SELECT * FROM STREAM v;
           CREATE MATERIALIZED VIEW gold.y AS SELECT * FROM v"""
    )
    assert inputs(built, "silver.x") == {"bronze.a": True}
    assert inputs(built, "gold.y") == {"bronze.a": False}


def test_a_view_read_twice_is_written_in_once() -> None:
    built = graph(
        """CREATE TEMPORARY VIEW v AS SELECT k FROM bronze.a;
           CREATE MATERIALIZED VIEW gold.y AS SELECT l.k FROM v l JOIN v r ON l.k = r.k"""
    )
    assert query(built, "gold.y") == (
        "WITH v AS (SELECT k FROM bronze.a) SELECT l.k FROM v AS l JOIN v AS r ON l.k = r.k"
    )


def test_common_table_expressions_hide_views_and_tables_of_the_same_name() -> None:
    built = graph(
        """CREATE TEMPORARY VIEW v AS SELECT 1 AS view_column FROM bronze.a;
           CREATE MATERIALIZED VIEW gold.own AS WITH v AS (SELECT 2 AS own FROM bronze.b) SELECT * FROM v;
           CREATE MATERIALIZED VIEW gold.both AS WITH v AS (SELECT * FROM v) SELECT * FROM v;
           CREATE MATERIALIZED VIEW gold.inner AS SELECT * FROM v JOIN (WITH v AS (SELECT 3) SELECT * FROM v) t"""
    )
    assert inputs(built, "gold.own") == {"bronze.b": False}
    assert query(built, "gold.both") == (
        "WITH v_1 AS (SELECT 1 AS view_column FROM bronze.a), v AS (SELECT * FROM v_1 AS v) SELECT * FROM v"
    )
    assert inputs(built, "gold.inner") == {"bronze.a": False}


ERRORS = [
    (
        "CREATE MATERIALIZED VIEW gold.y AS SELECT *\nFROM bronze.aa",
        UnknownTable,
        "p.sql:2:6: nobody makes bronze.aa",
        "did you mean bronze.a",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.vendas AS SELECT 1 AS k;\n"
        "CREATE MATERIALIZED VIEW gold.y AS SELECT * FROM vendas",
        UnknownTable,
        "p.sql:2:50: nobody makes vendas",
        "did you mean gold.vendas?",
    ),
    (
        "CREATE TEMPORARY VIEW limpos AS SELECT 1 AS k;\nCREATE MATERIALIZED VIEW gold.y AS SELECT * FROM limpo",
        UnknownTable,
        "p.sql:2:50: nobody makes limpo",
        "did you mean limpos?",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.y AS SELECT * FROM LIVE.a",
        UnknownTable,
        "p.sql:1:50: nobody makes LIVE.a",
        "LIVE. is not needed",
    ),
    (
        "CREATE TEMPORARY VIEW unused AS SELECT * FROM nowhere.x",
        UnknownTable,
        "p.sql:1:47: nobody makes nowhere.x",
        "`into` of a source",
    ),
    (
        "CREATE STREAMING TABLE silver.xx;\nCREATE FLOW f AS INSERT INTO silver.x SELECT * FROM STREAM bronze.a",
        UnknownTable,
        "p.sql:2:1: flow f feeds silver.x, which is not declared",
        "did you mean silver.xx?",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.y AS SELECT * FROM gold.z;\n"
        "CREATE MATERIALIZED VIEW gold.z AS SELECT * FROM gold.w;\n"
        "CREATE MATERIALIZED VIEW gold.w AS SELECT * FROM gold.z",
        PipelineCycle,
        "p.sql:2:50: tables read each other in a circle: "
        "gold.z reads gold.w (p.sql:2:50) → gold.w reads gold.z (p.sql:3:50)",
        "take one",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.y AS SELECT * FROM gold.y",
        PipelineCycle,
        "p.sql:1:50: tables read each other in a circle: gold.y reads gold.y (p.sql:1:50)",
        "take one",
    ),
    (
        "CREATE TEMPORARY VIEW v AS SELECT * FROM w;\nCREATE TEMPORARY VIEW w AS SELECT * FROM v",
        PipelineCycle,
        "p.sql:1:1: views read each other in a circle: v (p.sql:1:1) → w (p.sql:2:1) → v (p.sql:1:1)",
        "take one",
    ),
    (
        "CREATE STREAMING TABLE silver.x",
        PipelineError,
        "p.sql:1:1: the streaming table silver.x has no flow",
        "CREATE FLOW … AS INSERT INTO silver.x",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.y AS SELECT 1 AS k;\n"
        "CREATE FLOW f AS INSERT INTO gold.y SELECT * FROM STREAM bronze.a",
        PipelineError,
        "p.sql:2:1: flow f feeds gold.y, a materialized view (p.sql:1:1)",
        "STREAMING TABLE",
    ),
    (
        "CREATE MATERIALIZED VIEW gold.y AS SELECT * FROM STREAM bronze.a",
        PipelineError,
        "p.sql:1:57: the materialized view gold.y reads bronze.a as a stream",
        "leave STREAM out",
    ),
    (
        "CREATE STREAMING TABLE silver.x AS SELECT * FROM bronze.a",
        PipelineError,
        "p.sql:1:1: flow silver.x into the streaming table silver.x reads no stream",
        "FROM STREAM before the table whose new rows are wanted, or declare a MATERIALIZED VIEW",
    ),
    (
        "CREATE STREAMING TABLE silver.x AS SELECT a.* FROM STREAM bronze.a JOIN bronze.a b USING (k)",
        PipelineError,
        "p.sql:1:73: bronze.a is read as a stream and as a table in one query (p.sql:1:59)",
        "a flow of its own",
    ),
    (
        "CREATE TEMPORARY VIEW v AS SELECT * FROM bronze.a JOIN bronze.b USING (k);\n"
        "CREATE STREAMING TABLE silver.x AS SELECT * FROM STREAM v",
        PipelineError,
        "p.sql:2:57: STREAM v: the view reads 2 tables, and none of them as a stream (p.sql:1:1)",
        "write STREAM in the view",
    ),
    (
        "CREATE MATERIALIZED VIEW silver.y AS SELECT * FROM bronze.a;\n"
        "CREATE STREAMING TABLE silver.x AS SELECT * FROM STREAM silver.y",
        PipelineError,
        "p.sql:2:57: silver.y cannot be read as a stream: its rows change (p.sql:1:1)",
        "MATERIALIZED VIEW",
    ),
    (
        "CREATE STREAMING TABLE silver.x;\n"
        "CREATE FLOW f AS INSERT INTO silver.x SELECT * FROM STREAM bronze.a;\n"
        "CREATE FLOW g AS AUTO CDC INTO silver.x FROM STREAM bronze.b KEYS (k) SEQUENCE BY s",
        PipelineError,
        "p.sql:3:1: silver.x is fed with other keys, or another history, in p.sql:2:1",
        "same KEYS",
    ),
]


@pytest.mark.parametrize(("text", "kind", "message", "hint"), ERRORS)
def test_errors_name_places_and_the_next_step(text: str, kind: type[PipelineError], message: str, hint: str) -> None:
    with pytest.raises(kind) as caught:
        graph(text)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_many_flows_in_a_long_chain_are_sorted() -> None:
    texts = [f"CREATE MATERIALIZED VIEW gold.t{i} AS SELECT * FROM gold.t{i + 1}" for i in range(200)]
    built = graph(";\n".join([*texts, "CREATE MATERIALIZED VIEW gold.t200 AS SELECT * FROM bronze.a"]))
    assert [node.flow.name for node in built.flows] == [f"gold.t{i}" for i in range(200, -1, -1)]
