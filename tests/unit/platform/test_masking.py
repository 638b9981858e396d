"""Which columns are personal, through the SQL of the flows, and how rows look once they are masked."""

from __future__ import annotations

import pytest
from sqlglot import parse_one

from datalab.platform.masking import MASK, mask_row, mask_value, personal_columns


def personal(*queries: str) -> set[str]:
    trees = [parse_one(query, read="spark") for query in queries]
    return set(personal_columns(trees, ["cpf", "Latitude"]) - {"cpf", "latitude"})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("SELECT id, cpf FROM t", set()),
        ("SELECT cpf AS documento FROM t", {"documento"}),
        ("SELECT t.cpf documento FROM t", {"documento"}),
        ("SELECT lugar.latitude AS lugar_latitude FROM t", {"lugar_latitude"}),
        ("SELECT substr(trim(CPF), 1, 3) AS inicio FROM t", {"inicio"}),
        ("SELECT CASE WHEN tipo = 'F' THEN cpf ELSE 'x' END AS d FROM t", {"d"}),
        ("SELECT max(cpf) AS ultimo FROM t", {"ultimo"}),
        ("SELECT d AS e FROM (SELECT cpf AS d FROM t)", {"d", "e"}),
        ("WITH c AS (SELECT cpf AS d FROM t) SELECT concat('x', d) AS e FROM c", {"d", "e"}),
        ("SELECT nome AS d FROM t UNION ALL SELECT cpf FROM u", {"d"}),
        ("SELECT struct(cpf AS c, 1 AS n) AS s FROM t", {"s"}),
        ("SELECT length(cpf) = 11 AS certo, length(cpf) AS n, count(DISTINCT cpf) AS pessoas FROM t", set()),
        ("SELECT cpf IS NULL AS sem, CASE WHEN cpf > 'a' THEN 1 ELSE 2 END AS x FROM t", set()),
    ],
)
def test_a_column_made_of_personal_data_is_personal(query, found):
    assert personal(query) == found


def test_names_are_followed_from_flow_to_flow_in_whatever_order():
    assert personal("SELECT d AS e FROM silver.x", "SELECT cpf AS d FROM bronze.x") == {"d", "e"}


def test_masking_goes_to_any_depth_and_keeps_nulls_and_everything_else():
    row = {"id": 1, "CPF": "1", "aninhado": [{"cpf": "2", "uf": "SP"}, {"cpf": None}]}
    masked = {"id": 1, "CPF": MASK, "aninhado": [{"cpf": MASK, "uf": "SP"}, {"cpf": None}]}
    assert mask_value(row, {"cpf"}) == masked
    assert mask_row('{"cpf": {"a": 1}}', {"CPF"}) == {"cpf": MASK}
    assert mask_value(row, set()) == row


def test_text_that_is_no_row_is_hidden_where_anything_is_personal():
    assert mask_row("half a li", {"cpf"}) == MASK
    assert mask_row("half a li", ()) == "half a li"
    assert mask_row(None, {"cpf"}) is None
