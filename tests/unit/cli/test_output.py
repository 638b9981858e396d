"""Answers: the same value for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalab.cli.output import Table, cell, note, show, to_json
from datalab.lake.provenance import Range
from datalab.names import TableName

MOMENT = datetime(2026, 1, 5, 12, 30, 0, 250000, tzinfo=UTC)
ORDERS = Table.of(
    [
        {"pedido": 1, "cliente": "Ana  Souza\nfilha", "valor": 1204.5, "quando": MOMENT},
        {"pedido": 12, "cliente": None, "valor": None, "quando": None},
    ],
    title="orders",
    formats={"valor": ",.2f"},
)


def test_a_table_for_people_is_plain_and_aligned_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(ORDERS, as_json=False)
    assert capsys.readouterr().out == (
        "orders\n"
        "pedido  cliente             valor  quando\n"
        "     1  Ana Souza filha  1,204.50  2026-01-05 12:30:00.250+00:00\n"
        "    12\n"
    )


def test_a_table_for_programs_is_a_list_of_objects(capsys: pytest.CaptureFixture[str]) -> None:
    show(ORDERS, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "pedido": 1, "cliente": "Ana  Souza\nfilha", "valor": 1204.5, "quando": "2026-01-05T12:30:00.250000+00:00",
    }  # fmt: skip
    assert second["cliente"] is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("1.10"), "1.10"),
        (float("nan"), None),
        (float("inf"), None),
        (b"\x00\xff", "AP8="),
        (date(2026, 1, 5), "2026-01-05"),
        (timedelta(minutes=1.5), 90.0),
        (Path("a/b"), "a/b"),
        (TableName("silver", "pedidos"), "silver.pedidos"),
        (Range(1, 2), {"start": 1, "to": 2}),
        ({"a": (1, {2})}, {"a": [1, [2]]}),
        (True, True),
        ("ção", "ção"),
    ],
)
def test_values_in_json(value: Any, expected: Any) -> None:
    assert json.loads(to_json(value)) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (0.1 + 0.2, "0.3"),
        ({"a": 1}, '{"a": 1}'),
        (["a", 1], "a, 1"),
        ("x" * 300, "x" * 200 + "…"),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert cell(value) == text


def test_an_empty_table_still_shows_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show(Table(("a", "b"), ()), as_json=False)
    assert capsys.readouterr().out == "a  b\n"


def test_a_mapping_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    show({"rows": 3, "name": "x"}, as_json=False)
    show("done", as_json=False)
    note("next", quiet=False)
    note("never", quiet=True)
    out, err = capsys.readouterr()
    assert out == "rows  3\nname  x\ndone\n"
    assert err == "next\n"


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text(max_size=5) | st.integers() | st.none(), min_size=1)))
def test_json_gives_back_what_went_in(records: list[dict[str, Any]]) -> None:
    table = Table.of(records, columns="abc")
    expected = [{name: record.get(name) for name in "abc"} for record in records]
    assert json.loads(to_json(table)) == expected
