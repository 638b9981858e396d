"""kill -9 of the server, and of the process that takes its log to the lake, at random moments of scoring."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

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


def _check(folder: Path, ledger: list[str], kills: int) -> None:
    with Lab(load(folder), {}) as lab:
        flush_logs(lab)
        rows = lab.query("SELECT score_id, source_log, source_row FROM ops.scores").read_all().to_pylist()
    stored = Counter(row["score_id"] for row in rows)
    assert len(ledger) > 10 * kills
    assert [score for score in ledger if stored[score] != 1] == []
    assert [score for score, count in stored.items() if count > 1] == []
    assert len({(row["source_log"], row["source_row"]) for row in rows}) == len(rows)
    assert len(rows) <= len(ledger) + kills * (2 + 20), "at most what was under way at each kill was not answered"
    assert list((folder / ".datalab" / "serving" / "scores").glob("*.jsonl")) == []
