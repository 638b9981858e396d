"""kill -9 of the server, and of the process that takes its log to the lake, at random moments of scoring."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.faults.server import Client, Server, make_project

from datalab.platform.lab import Lab
from datalab.platform.score_log import flush_logs
from datalab.platform.settings import load

QUICK, FULL = 5, 200


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_answered_score_is_in_the_log_once(tmp_path):
    _kill_many(tmp_path, QUICK)


@pytest.mark.full
@pytest.mark.timeout(0)
def test_every_answered_score_is_in_the_log_once_in_the_long_run(tmp_path):
    _kill_many(tmp_path, FULL)


def _kill_many(tmp_path: Path, kills: int) -> None:
    chance = random.Random(20261126)
    folder = tmp_path / "fazenda"
    key = make_project(folder, flush_seconds=1, log_size="200KB", rate=100_000, burst=100_000)
    ledger: list[str] = []
    for number in range(kills):
        server = Server(folder, key, tmp_path / "errors.txt")
        clients = [Client(server, each) for each in range(3)]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(0.2, 2.5))
        server.kill(flusher=number % 2 == 0)
        for client in clients:
            client.join()
            assert client.failed == []
            ledger += client.answered
    _check(folder, ledger, kills)


def problems(ledger: list[str], rows: list[dict[str, Any]], unanswered: int) -> list[str]:
    """What is wrong with a table of scores, beside the ids that clients were answered."""
    stored = Counter(row["score_id"] for row in rows)
    found = [f"{score} was answered and is not there" for score in ledger if not stored[score]]
    found += [f"{score} is there {count} times" for score, count in stored.items() if count > 1]
    if len({(row["source_log"], row["source_row"]) for row in rows}) < len(rows):
        found.append("a place in the log was taken twice")
    if len(rows) > len(ledger) + unanswered:
        found.append("more is there than was answered or under way")
    return found


def _check(folder: Path, ledger: list[str], kills: int) -> None:
    with Lab(load(folder), {}) as lab:
        flush_logs(lab)
        rows = lab.query("SELECT score_id, source_log, source_row FROM ops.scores").read_all().to_pylist()
    assert len(ledger) > 10 * kills
    assert problems(ledger, rows, kills * (2 + 20)) == [], "two single requests and a batch of 20 at each kill"
    assert list((folder / ".datalab" / "serving" / "scores").glob("*.jsonl")) == []


def test_the_check_finds_planted_defects():
    rows = [{"score_id": str(number), "source_log": "a", "source_row": number} for number in range(5)]
    ledger = [str(number) for number in range(5)]
    assert problems(ledger, rows, 0) == []
    assert problems(ledger[1:], rows, 1) == []
    assert problems(ledger, rows[1:], 0) == ["0 was answered and is not there"]
    assert "4 is there 2 times" in problems(ledger, [*rows, {**rows[4], "source_row": 5}], 9)
    assert problems(ledger, [*rows[:4], {**rows[4], "source_row": 3}], 0) == ["a place in the log was taken twice"]
    assert problems(ledger[1:], rows, 0) == ["more is there than was answered or under way"]
