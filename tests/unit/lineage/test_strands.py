"""What columns of a result are over the rows of each table: joins, groups, unions, and what cannot be followed."""

from __future__ import annotations

import pytest
import sqlglot

from datalab.lineage.columns import origins
from datalab.lineage.resolve import Unresolved, resolved
from datalab.lineage.strands import Strand, strands
from datalab.names import TableName

COLUMNS = {
    TableName.parse("bronze.p"): ["id", "uf", "valor", "local"],
    TableName.parse("bronze.q"): ["id", "tipo", "peso"],
    TableName.parse("bronze.r"): ["tipo", "nome"],
}


def followed(sql: str) -> list[Strand]:
    return list(strands(resolved(sqlglot.parse_one(sql, read="spark"), COLUMNS)))


def shown(strand: Strand) -> dict[str, str | None]:
    plain = {name: part and part.sql("spark").replace("input_row.", "") for name, part in strand.columns.items()}
    return {name: part and part.replace("`", "") for name, part in plain.items()}


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT upper(uf) AS uf, count(*) AS n FROM bronze.p GROUP BY uf", {"uf": "UPPER(uf)", "n": None}),
        ("SELECT left(uf, 1) AS u, max(id) FROM bronze.p GROUP BY u", {"u": "LEFT(uf, 1)", "max(id)": None}),
        ("SELECT uf, sum(valor) AS t FROM bronze.p GROUP BY ALL", {"uf": "uf", "t": None}),
        ("SELECT u, 2 * t AS t FROM (SELECT uf AS u, sum(id) AS t FROM bronze.p GROUP BY 1)", {"u": "uf", "t": None}),
        ("SELECT local.uf AS a, p.local.cidade.nome AS b FROM bronze.p", {"a": "local.uf", "b": "local.cidade.nome"}),
        ("SELECT * EXCEPT (local, valor) FROM bronze.p", {"id": "id", "uf": "uf"}),
        ("SELECT valor + 1 AS v, v * 2 AS w FROM bronze.p", {"v": "valor + 1", "w": "(valor + 1) * 2"}),
        ("SELECT id, e FROM bronze.p LATERAL VIEW explode(split(uf, ',')) t AS e", {"id": "id", "e": None}),
        ("SELECT id, sum(valor) OVER (PARTITION BY id) AS s FROM bronze.p", {"id": "id", "s": None}),
        ("WITH a AS (SELECT id AS i FROM bronze.p), b AS (SELECT i AS j FROM a) SELECT j FROM b", {"j": "id"}),
    ],
)
def test_one_table(sql: str, columns: dict[str, str | None]) -> None:
    (strand,) = followed(sql)
    assert shown(strand) == columns


@pytest.mark.parametrize(
    ("join", "of_p", "of_q"),
    [
        ("p JOIN bronze.q ON p.id = q.id", ("id", "id"), ("id", "id")),
        ("p JOIN bronze.q USING (id)", ("id", "id"), ("id", "id")),
        ("p, bronze.q WHERE p.id = q.id", ("id", "id"), ("id", "id")),
        ("p LEFT JOIN bronze.q ON p.id = q.id", ("id", None), ("id", "id")),
        ("p RIGHT JOIN bronze.q ON p.id = q.id", ("id", "id"), (None, "id")),
        ("p FULL JOIN bronze.q ON p.id = q.id", ("id", None), (None, "id")),
        ("p JOIN bronze.q ON upper(p.id) = q.id", ("id", "UPPER(id)"), (None, "id")),
        ("p CROSS JOIN bronze.q", ("id", None), (None, "id")),
    ],
)
def test_joins_make_columns_equal_where_no_row_may_be_missing(join: str, of_p: object, of_q: object) -> None:
    found = followed(f"SELECT p.id AS a, q.id AS b FROM bronze.{join}")
    by_table = {strand.table.table: shown(strand) for strand in found}
    assert (by_table["p"]["a"], by_table["p"]["b"]) == of_p
    assert (by_table["q"]["a"], by_table["q"]["b"]) == of_q


def test_equalities_reach_through_several_joins() -> None:
    joins = "bronze.p JOIN bronze.q ON p.id = q.id AND q.peso > 2 JOIN bronze.r ON r.tipo = q.tipo"
    p, q, r = followed(f"SELECT p.id, r.nome FROM {joins}")
    assert shown(p) == {"id": "id", "nome": None}
    assert shown(q) == {"id": "id", "nome": None}
    assert shown(r) == {"id": None, "nome": "nome"}
    assert [part.sql("spark") for part in q.conditions] == ["input_row.`peso` > 2"]


def test_conditions_are_those_that_speak_of_one_table() -> None:
    joins = "bronze.p LEFT JOIN bronze.q ON p.id = q.id AND p.valor > 0"
    p, q = followed(f"SELECT p.id FROM {joins} WHERE p.valor > peso AND uf <> ''")
    assert [part.sql("spark") for part in p.conditions] == ["input_row.`uf` <> ''"]
    assert [part.sql("spark") for part in q.conditions] == []


def test_branches_of_a_union_are_told_apart_by_their_constants() -> None:
    first, second = followed("SELECT id, 'p' AS de FROM bronze.p UNION ALL SELECT tipo, 'q' FROM bronze.q")
    assert (shown(first), shown(second)) == ({"id": "id", "de": "'p'"}, {"id": "tipo", "de": "'q'"})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM bronze.p WHERE id IN (SELECT id FROM bronze.q)",
        "SELECT id, (SELECT max(peso) FROM bronze.q WHERE q.id = p.id) AS m FROM bronze.p",
        "SELECT id FROM bronze.p LEFT ANTI JOIN bronze.q ON p.id = q.id",
        "SELECT id FROM bronze.p EXCEPT SELECT id FROM bronze.q",
    ],
)
def test_tables_that_only_decide_are_not_followed(sql: str) -> None:
    unheeded = {strand.table.table: strand.unheeded for strand in followed(sql)}
    assert unheeded == {"p": False, "q": True}


def test_groups_that_overlap_and_windows_are_said() -> None:
    (rollup,) = followed("SELECT uf, id, count(*) AS n FROM bronze.p GROUP BY ROLLUP (uf, id)")
    assert (rollup.summed, rollup.partial) == (True, True)
    (window,) = followed("SELECT id FROM bronze.p QUALIFY row_number() OVER (PARTITION BY id ORDER BY valor) = 1")
    assert (window.summed, window.notes) == (False, ("window functions look at other rows too",))
    (whole,) = followed("SELECT count(*) AS n FROM bronze.p")
    assert (whole.summed, shown(whole)) == (True, {"n": None})
    (named,) = followed("SELECT mean(valor) AS m FROM bronze.p")
    assert (named.summed, shown(named)) == (True, {"m": None})


@pytest.mark.parametrize("by", ["uf, upper(id)", "1, 2", "ALL"])
def test_group_keys_decide_which_rows_there_are(by: str) -> None:
    sql = f"SELECT uf, upper(id) AS i, 'p' AS de, mean(valor) AS m FROM bronze.p GROUP BY {by}"
    found = origins(resolved(sqlglot.parse_one(sql, read="spark"), COLUMNS))
    assert {ref.column for ref in found.rows} == {"uf", "id"}


def test_names_that_cannot_be_resolved_are_said() -> None:
    with pytest.raises(Unresolved):
        followed("SELECT x.id FROM bronze.p AS x JOIN bronze.q AS x ON 1 = 1")
