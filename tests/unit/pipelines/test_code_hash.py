"""The code hash: the layout of the text never changes it, and every change of meaning does."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.declared import parse_sql

from datalab.names import TableName
from datalab.pipelines.graph import build_graph
from datalab.pipelines.lex import Source, Token, tokenize

KNOWN = [TableName("bronze", "a"), TableName("bronze", "b")]
TEXT = """
CREATE TEMPORARY VIEW limpos AS
  SELECT *, CASE WHEN valor > 10.5 THEN 'ALTO -- not a comment' ELSE "b;" END AS faixa, `data hora`
  FROM STREAM bronze.a WHERE chave IS NOT NULL AND nome LIKE 'A%';
CREATE STREAMING TABLE silver.x (
  chave BIGINT NOT NULL, faixa STRING COMMENT 'c',
  CONSTRAINT positivo EXPECT (chave > 0 AND faixa IN ('ALTO', 'b;')) ON VIOLATION DROP ROW
) COMMENT 'it''s';
CREATE FLOW f AS AUTO CDC INTO silver.x FROM STREAM limpos
  KEYS (chave) APPLY AS DELETE WHEN faixa = 'D' SEQUENCE BY STRUCT(t, u) COLUMNS * EXCEPT (valor);
CREATE MATERIALIZED VIEW gold.y AS
  WITH c AS (SELECT chave, sum(valor) AS s FROM bronze.b GROUP BY chave)
  SELECT c.chave, count(*) AS n, CAST(max(s) AS DECIMAL(10, 2)) AS m, INTERVAL 1 DAY AS d
  FROM c LEFT JOIN silver.x USING (chave) GROUP BY c.chave HAVING count(*) >= 1
"""
PLAIN = re.sub(r"""'[^']*'|"[^"]*\"""", "", TEXT)
KEYWORDS = {*re.findall(r"[A-Z]{2,}", PLAIN), "SUM", "COUNT"}


def hashes(text: str) -> dict[str, str]:
    return {node.flow.name: node.code for node in build_graph(parse_sql(text, "p.sql"), KNOWN).flows}


def reformatted(text: str, chance: random.Random) -> str:
    """The same tokens with other blanks, comments between them, and keywords in another case."""
    blanks = [" ", "\n", "\t ", "\r\n", " -- a comment; 'x\n", " /* a /* nested */ comment ` */ "]
    pieces = []
    for token in tokenize(Source("p.sql", text)):
        pieces.append(written(token, text, chance))
        pieces.append(chance.choice(blanks))
    return "".join(pieces)


def written(token: Token, text: str, chance: random.Random) -> str:
    as_is = text[token.start : token.end]
    if token.kind != "word" or as_is.upper() not in KEYWORDS:
        return as_is
    return chance.choice([as_is.upper(), as_is.lower(), as_is.title()])


@given(st.randoms(use_true_random=False))
def test_layout_comments_and_case_of_keywords_change_nothing(chance: random.Random) -> None:
    text = TEXT.replace(">=", "\0")  # two-character operators are two tokens to the statement parser
    again = reformatted(text, chance).replace("\0", ">=")
    assert hashes(again) == hashes(TEXT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("COMMENT 'it''s'", "COMMENT 'other' TBLPROPERTIES ('a' = 'b') PARTITIONED BY (faixa)"),
        ("faixa STRING COMMENT 'c'", "faixa string"),
        ("AS s FROM bronze.b", "s FROM Bronze.B"),
        ("c.chave, count", "`c`.`chave`, count"),
        ("SELECT chave, sum(valor)", "select chave, SUM(/* x */ valor)"),
    ],
)
def test_how_it_is_written_or_stored_changes_nothing(before: str, after: str) -> None:
    assert before in TEXT
    assert hashes(TEXT.replace(before, after)) == hashes(TEXT)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("valor > 10.5", "valor > 10.50001", {"f"}),
        ("'ALTO -- not", "'alto -- not", {"f"}),
        ("nome LIKE 'A%'", "nome LIKE 'B%'", {"f"}),
        ("FROM STREAM bronze.a", "FROM STREAM bronze.b", {"f"}),
        ("chave > 0", "chave >= 0", {"f"}),
        ("DROP ROW", "FAIL UPDATE", {"f"}),
        ("CONSTRAINT positivo", "CONSTRAINT positiva", {"f"}),
        ("chave BIGINT NOT NULL", "chave BIGINT", {"f"}),
        ("chave BIGINT", "chave INT", {"f"}),
        ("KEYS (chave)", "KEYS (chave, faixa)", {"f"}),
        ("STRUCT(t, u)", "STRUCT(u, t)", {"f"}),
        ("faixa = 'D'", "faixa = 'E'", {"f"}),
        ("EXCEPT (valor)", "EXCEPT (t)", {"f"}),
        ("SEQUENCE BY", "STORED AS SCD TYPE 2 SEQUENCE BY", {"f"}),
        ("sum(valor)", "sum(DISTINCT valor)", {"gold.y"}),
        ("LEFT JOIN", "JOIN", {"gold.y"}),
        ("HAVING count(*) >= 1", "", {"gold.y"}),
        ("DECIMAL(10, 2)", "DECIMAL(10, 3)", {"gold.y"}),
        ("AS n", "AS m_n", {"gold.y"}),
        ("INTERVAL 1 DAY", "INTERVAL 1 HOUR", {"gold.y"}),
    ],
)
def test_every_change_of_meaning_changes_the_flow_that_it_touches(before: str, after: str, changed: set[str]) -> None:
    assert before in TEXT
    old, new = hashes(TEXT), hashes(TEXT.replace(before, after))
    assert {name for name in old if old[name] != new[name]} == changed


def test_a_stream_is_not_a_table() -> None:
    text = "CREATE STREAMING TABLE silver.x AS SELECT a.k FROM {} bronze.a a JOIN {} bronze.b b ON a.k = b.k"
    assert hashes(text.format("STREAM", "")) != hashes(text.format("", "STREAM"))


def test_the_hash_is_the_same_in_every_process() -> None:
    text = "CREATE MATERIALIZED VIEW gold.y AS SELECT k, count(*) AS n FROM bronze.a GROUP BY k"
    assert hashes(text) == {"gold.y": "1f1335a752ad2f4c"}
