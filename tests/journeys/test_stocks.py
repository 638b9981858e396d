"""The Delta project as a user types it: the gate, the outliers, the score of each row, the report, the notification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

GATE, CLEANED, GOLD = "silver.stocks_gate", "silver.stocks_cleaned", "gold.stocks_analytics"
SHARES = ("--bad", "2%", "--late", "2%", "--duplicates", "2%", "--files", "2", "--seed", "7")


@pytest.fixture
def stocks(tmp_path: Path, datalab: Any, warm: None) -> Path:
    folder = tmp_path / "prices"
    assert datalab("init", folder, "--template", "stocks").code == 0
    return folder


def notifications(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notifications.jsonl").read_text(encoding="utf-8").splitlines()]


def test_prices_pass_the_gate_are_judged_reported_and_announced(stocks, datalab):
    def ask(sql: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = datalab("query", sql, "--limit", "0", "--project", stocks, "--json").json
        return rows

    def simulate(rows: int) -> dict[str, Any]:
        ledger = stocks.parent / "ledger.jsonl"
        counts = ("data", "simulate", "--rows", str(rows), "--ledger", ledger, *SHARES)
        summary: dict[str, Any] = datalab(*counts, "--project", stocks, "--json").json
        return summary

    simulate(400)
    _refused(stocks, datalab("run", "--project", stocks))
    assert ask("SELECT count(*) < 1000 AS few FROM bronze.stocks") == [{"few": True}]

    simulate(1000)
    record = datalab("run", "--project", stocks, "--json").json
    assert record["status"] == "ok"
    steps = {step["table"]: step for step in record["steps"]}
    assert steps[CLEANED]["read"] == steps[CLEANED]["written"] + steps[CLEANED]["quarantined"]
    _judged(ask)
    _reported(stocks, record["run_id"])
    assert (
        DeltaTable(stocks / "lake" / "silver" / "stocks_cleaned").to_pyarrow_table().num_rows
        == (steps[CLEANED]["written"])
    )

    assert datalab("run", "--project", stocks).out.startswith("nothing to do")
    assert len(notifications(stocks)) == 2


def _refused(stocks: Path, answer: Any) -> None:
    assert answer.code == 6
    assert "silver.stocks_gate: expectation failed: min_rows (1 rows): record_count >= 1000" in answer.err
    for name in (CLEANED, GOLD):
        assert not (stocks / "lake" / name.replace(".", "/")).exists()
    assert DeltaTable(stocks / "lake" / "silver" / "stocks_gate").file_uris() == []
    assert not (stocks / "reports").exists()
    (told,) = notifications(stocks)
    assert (told["status"], told["report"]) == ("failed", None)
    assert told["failed"] == [GATE, CLEANED, GOLD]


def _judged(ask: Any) -> None:
    aside = ask(f"SELECT detail, row FROM ops.quarantine WHERE target = '{CLEANED}'")
    assert {part for row in aside for part in row["detail"].split(", ")} >= {"positive_close", "within_three_sigma"}
    unreadable = ask("SELECT DISTINCT reason FROM ops.quarantine WHERE target = 'bronze.stocks'")
    assert {row["reason"] for row in unreadable} <= {"wrong_type", "invalid_csv"}
    assert unreadable
    cleaned = ask(f"SELECT * FROM {CLEANED}")
    assert all(row["close"] > 0 and abs(row["z_score"]) <= 3 for row in cleaned)
    assert len({(row["date"], row["symbol"]) for row in cleaned}) == len(cleaned)
    failed = [row for row in cleaned if row["data_quality_score"] < 1]
    assert failed
    assert len(failed) < len(cleaned) / 2
    assert all(_fails_a_check(row) for row in failed)
    (warned,) = ask("SELECT failed, action FROM ops.checks WHERE `constraint` = 'all_checks_passed' ORDER BY rows")
    dropped = [row for row in aside if json.loads(row["row"])["data_quality_score"] < 1]
    assert (warned["failed"], warned["action"]) == (len(failed) + len(dropped), "warn")
    (total,) = ask(f"SELECT sum(record_count) AS n FROM {GOLD}")
    assert total["n"] == len(cleaned)


def _fails_a_check(row: dict[str, Any]) -> bool:
    inside = row["low"] <= row["open"] <= row["high"] and row["low"] <= row["close"] <= row["high"]
    return abs(row["z_score"]) > 2 or not row["volume"] or not inside


def _reported(stocks: Path, run_id: str) -> None:
    report = (stocks / "reports" / "stocks.md").read_text(encoding="utf-8")
    pictures = list((stocks / "reports").rglob("*.png"))
    assert pictures
    assert all(picture.name in report for picture in pictures)
    told = notifications(stocks)[-1]
    assert (told["run_id"], told["status"], told["report"]) == (run_id, "ok", "reports/stocks.md")
