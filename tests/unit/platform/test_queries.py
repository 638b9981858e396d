"""Questions are read as Spark reads them."""

from __future__ import annotations

import pytest

from datalab.errors import PipelineSyntaxError
from datalab.platform.queries import parse_query


def test_two_quotes_inside_a_text_are_one() -> None:
    tree = parse_query('''SELECT 'D\'\'Avila' AS a, "say ""hi""" AS b, 'a' 'b' AS c, '' AS d''')
    assert [each.this.name or each.this.sql("spark") for each in tree.expressions] == [
        "D'Avila",
        'say "hi"',
        "CONCAT('a', 'b')",
        "''",
    ]


@pytest.mark.parametrize("asked", ["", "SELECT 1; SELECT 2", "DROP TABLE x", "SELECT 'a", "SELECT FROM WHERE"])
def test_anything_but_one_select_is_refused(asked: str) -> None:
    with pytest.raises(PipelineSyntaxError) as caught:
        parse_query(asked)
    assert "Token" not in caught.value.message


def test_a_function_without_an_argument_is_named() -> None:
    with pytest.raises(PipelineSyntaxError, match=r"not parse: Encode lacks its argument 'charset'\. Line 1"):
        parse_query("SELECT encode('a')")


@pytest.mark.parametrize("asked", ["get_json_object(s, 'a')", "GET_JSON_OBJECT(concat('{', s), 'b.c')"])
def test_a_path_without_its_root_is_not_read_as_if_it_had_one(asked: str) -> None:
    with pytest.raises(PipelineSyntaxError, match=r"line 1: a path of get_json_object that does not begin with \$"):
        parse_query(f"SELECT {asked} FROM a.b")
    parse_query("SELECT get_json_object('a', '$.a'), get_json_object(concat(s, 'a'), \"$['a b']\") FROM a.b")


@pytest.mark.parametrize("asked", ["date_format(d, 'YYYY-MM')", "to_date(concat(s, '1'), 'd/M/Y')"])
def test_the_year_of_a_week_is_not_read_as_the_year(asked: str) -> None:
    with pytest.raises(PipelineSyntaxError, match="line 2: the letter Y in a date pattern"):
        parse_query(f"SELECT 1,\n {asked} FROM a.b")
    parse_query("SELECT date_format(d, \"yyyy'Y'\"), to_date(concat(s, ', Y'), 'yyyy') FROM a.b")
