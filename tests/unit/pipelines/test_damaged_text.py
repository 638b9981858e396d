"""Whatever a pipeline file holds, reading it ends in a graph or in an error that names a place and a next step."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.declared import parse_sql

from datalab.errors import PipelineError
from datalab.names import TableName
from datalab.pipelines.graph import build_graph
from datalab.pipelines.grouping import grouping
from datalab.pipelines.lex import Source, tokenize

KNOWN = [TableName("bronze", "a"), TableName("bronze", "b")]
TEXT = """
CREATE TEMPORARY VIEW v AS SELECT *, CASE WHEN n > 1.5 THEN 'A''B' END AS c FROM STREAM bronze.a WHERE k IS NOT NULL;
CREATE STREAMING TABLE silver.x (k BIGINT NOT NULL COMMENT 'c', CONSTRAINT p EXPECT (k > 0) ON VIOLATION DROP ROW)
  USING delta PARTITIONED BY (months(t), uf) COMMENT 'c' TBLPROPERTIES ('a' = 'b')
  FLOW AUTO CDC FROM STREAM v KEYS (k) APPLY AS DELETE WHEN o = 'D' SEQUENCE BY STRUCT(t, u) COLUMNS * EXCEPT (o);
CREATE STREAMING TABLE silver.y;
CREATE FLOW f AS INSERT INTO silver.y BY NAME SELECT a.k FROM STREAM(bronze.a) a JOIN bronze.b b USING (k);
CREATE MATERIALIZED VIEW gold.z AS WITH w AS (SELECT k, sum(m) AS s FROM bronze.b GROUP BY k HAVING count(*) > 1)
  SELECT w.k, max(s) AS m, CAST(1 AS DECIMAL(10, 2)) AS d FROM w GROUP BY w.k UNION ALL SELECT 1, 2, 3; SET a.b = c;
"""
TOKENS = [TEXT[token.start : token.end] for token in tokenize(Source("p.sql", TEXT))]
PIECES = st.sampled_from([*sorted({*TOKENS}), *"'\"`;(){}[]<>/*-,.\\@#$%^&|~:?é", "/*", "--", "DROP", "VALUES"])
EDITS = st.lists(st.tuples(st.integers(0, len(TOKENS)), st.integers(0, 2), PIECES), min_size=1, max_size=3)


def damaged(edits: list[tuple[int, int, str]]) -> str:
    tokens = [*TOKENS]
    for place, removed, piece in edits:
        tokens[place : place + removed] = [piece]
    return " ".join(tokens)


@settings(max_examples=250)
@given(EDITS)
def test_damaged_files_end_in_a_graph_or_in_an_error_with_a_place(edits: list[tuple[int, int, str]]) -> None:
    try:
        built = build_graph(parse_sql(damaged(edits), "p.sql"), KNOWN)
    except PipelineError as error:
        found = error
    else:
        assert all(grouping(node.query) for node in built.flows)
        return
    assert found.message.startswith("p.sql:")
    assert found.hint
