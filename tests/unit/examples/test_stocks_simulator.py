"""The prices' simulator: readable CSV but for the planned faults, and a report from what gold answers."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

PLAN = {"rows": 1500, "bad": 0.02, "late": 0.04, "duplicates": 0.04, "seed": 3, "files": 5}
REAL = """date,open,high,low,close,adj_close,volume
2012-05-21 00:00:00-04:00,10.7,10.99,10.64,10.9,10.9,71596000
2012-05-22 00:00:00-04:00,10.9,10.94,10.69,10.76,10.76,74662000
"""


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "landing" / "stocks").iterdir())}


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def test_the_same_plan_gives_the_same_bytes(stocks: ModuleType, tmp_path: Path) -> None:
    assert stocks.simulate(tmp_path / "a", **PLAN) == stocks.simulate(tmp_path / "b", **PLAN)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_second_batch_goes_on_with_the_next_day_and_the_same_walk(stocks: ModuleType, tmp_path: Path) -> None:
    plain = {"bad": 0, "late": 0, "duplicates": 0, "files": 2}
    stocks.simulate(tmp_path / "parts", rows=100, **plain)
    stocks.simulate(tmp_path / "parts", rows=100, **plain)
    stocks.simulate(tmp_path / "whole", rows=200, **plain)
    parts, whole = (
        [row for path in sorted((tmp_path / name / "landing" / "stocks").iterdir()) for row in rows_of(path)]
        for name in ("parts", "whole")
    )
    assert parts == whole


def test_the_ledger_names_each_line_and_every_fault_occurs(stocks: ModuleType, tmp_path: Path) -> None:
    summary = stocks.simulate(tmp_path, tmp_path / "ledger.jsonl", **PLAN)
    ledger = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in ledger:
        row = rows_of(tmp_path / line["file"])[line["row"]]
        assert row[:2] == [line["date"], line["symbol"]]
        readable = len(row) == 7 and row[5] != "n/a"
        assert readable == (line["reason"] not in {"wrong_type", "missing_fields"})
    kinds = Counter(line["kind"] for line in ledger)
    assert kinds == {"good": 1410, "bad": 30, "late": 60, "duplicate": 30, "correction": 30}
    assert summary["records"] == 1560
    assert {line["reason"] for line in ledger} == {*stocks.FAULTS, ""}


def test_real_prices_are_taken_over_once_without_the_adjusted_close(stocks: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "amazon.csv"
    source.write_text(REAL, encoding="utf-8")
    assert stocks.simulate(tmp_path, rows=0, source=source)["records"] == 2
    assert stocks.simulate(tmp_path, rows=0, source=source)["records"] == 0
    assert rows_of(tmp_path / "landing" / "stocks" / "amzn.csv") == [
        ["2012-05-21", "AMZN", "10.7", "10.99", "10.64", "10.9", "71596000"],
        ["2012-05-22", "AMZN", "10.9", "10.94", "10.69", "10.76", "74662000"],
    ]


def test_the_report_shows_tables_and_pictures(stocks_report: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    days = [date(2026, 1, 5) + timedelta(days=number) for number in range(3)]
    answers = {
        stocks_report.SERIES: {
            "date": days,
            "avg_price": [10.0, 11.0, 12.0],
            "min_price": [9.0, 10.0, 11.0],
            "max_price": [11.0, 12.0, 13.0],
            "total_volume": [100, None, 300],
        },
        stocks_report.TOTALS: {"first_day": days[:1], "last_day": days[-1:], "days": [3], "prices": [15]},
        stocks_report.CATEGORIES: {"volatility_category": ["Low", "High"], "days": [2, 1]},
    }
    page = stocks_report.report(lambda sql: pa.table(answers.get(sql, {"symbol": ["SOJA"], "prices": [3]})), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "reports" / "stocks.md"
    assert "15 prices on 3 days, 2026-01-05 to 2026-01-07." in text
    assert "| volatility_category | days |\n| --- | --- |\n| Low | 2 |\n| High | 1 |\n" in text
    pictures = [path.read_bytes()[:8] for path in sorted(page.parent.glob("*.png"))]
    assert pictures == [b"\x89PNG\r\n\x1a\n"] * 2
