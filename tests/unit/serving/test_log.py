"""The log before the answer: whole lines or none, files that are left complete, and every line in the lake once."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hmac
import json
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.serving.models import REQUEST

from datalab.errors import ScoreLogFailed
from datalab.events import Bus
from datalab.lake.table import Change
from datalab.platform.lab import Lab
from datalab.platform.score_log import flush_logs
from datalab.platform.settings import load
from datalab.serving.flush import SCORES, flush_log
from datalab.serving.log import RecordLog
from datalab.serving.log_reader import Place, log_files, read_chunk
from datalab.serving.score_id import ScoreIds


def record(number: int) -> bytes:
    row = {
        "score_id": f"id-{number:06d}",
        "scored_at": "2026-11-26T12:00:00.123456Z",
        "model": "credito",
        "model_version": 1,
        "entity": ["proponente_1"],
        "request": REQUEST,
        "features": {"uf": None},
        "inputs": {"renda": None},
        "probability": 0.25,
        "score": 750,
        "decision": "APROVADO",
        "reasons": [],
        "degraded": None,
        "latency_ms": 0.4,
        "key_id": "k",
    }
    return json.dumps(row).encode() + b"\n"


@pytest.fixture
def lab(project: Path):
    with Lab(load(project), {}) as opened:
        yield opened


def stored(lab: Lab) -> list[str]:
    return lab.query("SELECT score_id FROM ops.scores ORDER BY score_id").read_all().column("score_id").to_pylist()


def flush(lab: Lab, folder: Path) -> int:
    return flush_log(lab.context(), SCORES, folder, Bus()).rows


def test_records_are_in_the_lake_once_and_the_file_goes_when_its_writer_is_gone(lab, tmp_path):
    folder = tmp_path / "log"
    log = RecordLog(folder, 1 << 20)
    log.append(record(1) + record(2))
    assert flush(lab, folder) == 2
    assert len(log_files(folder)) == 1, "its writer still has it"
    assert flush(lab, folder) == 0
    log.append(record(3))
    log.close()
    assert flush(lab, folder) == 1
    assert log_files(folder) == []
    assert stored(lab) == ["id-000001", "id-000002", "id-000003"]
    rows = lab.query("SELECT source_log, source_row, scored_at, entity, request, inputs FROM ops.scores").read_all()
    assert sorted(rows.column("source_row").to_pylist()) == [0, 1, 2]
    assert len(set(rows.column("source_log").to_pylist())) == 1
    first = rows.slice(0, 1).to_pylist()[0]
    assert json.loads(first["request"]) == REQUEST
    assert json.loads(first["entity"]) == ["proponente_1"]
    assert first["scored_at"] == datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
    state = lab.lake.require(SCORES)
    assert state.positions["score_log"].offsets != {}
    RecordLog(folder, 1 << 20).append(record(4))
    assert flush(lab, folder) == 1
    assert len(lab.lake.require(SCORES).positions["score_log"].offsets) == 1, "places of files that are gone go, too"


def test_what_is_logged_meanwhile_is_for_the_next_time(lab, tmp_path, monkeypatch):
    log = RecordLog(tmp_path / "log", 1 << 20)
    log.append(record(1))
    commit, numbers = lab.lake.commit, iter(range(2, 10))

    def answers_meanwhile(*arguments: Any) -> Any:
        log.append(record(next(numbers)))
        return commit(*arguments)

    monkeypatch.setattr(lab.lake, "commit", answers_meanwhile)
    assert [flush(lab, tmp_path / "log") for _ in range(3)] == [1, 1, 1]
    assert stored(lab) == ["id-000001", "id-000002", "id-000003"]


def test_a_log_rotates_by_size_and_by_age(tmp_path):
    now = [1000.0]
    log = RecordLog(tmp_path, len(record(1)) * 2, clock=lambda: now[0])
    for number in range(5):
        log.append(record(number))
        now[0] += 1
    assert len(log_files(tmp_path)) == 3
    log.rotate(older_than=60)
    log.append(record(5))
    assert len(log_files(tmp_path)) == 3
    now[0] += 60
    log.rotate(older_than=60)
    log.rotate(older_than=60)
    log.append(record(6))
    assert len(log_files(tmp_path)) == 4
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in log_files(tmp_path))
    assert tmp_path.stat().st_mode & 0o077 == 0 or tmp_path.exists()


def test_a_file_is_left_in_time_though_the_clock_was_set_back(tmp_path):
    now = [10_000.0]
    log = RecordLog(tmp_path, 1 << 20, clock=lambda: now[0])
    log.append(record(1))
    now[0] -= 3_600
    log.rotate(older_than=600)
    log.append(record(2))
    assert len(log_files(tmp_path)) == 2


def test_a_file_that_somebody_removed_is_left_for_a_new_one(lab, tmp_path):
    log = RecordLog(tmp_path / "scores", 1 << 20)
    log.append(record(1))
    shutil.rmtree(tmp_path / "scores")
    log.rotate(600)
    log.append(record(2))
    log.close()
    assert flush(lab, tmp_path / "scores") == 1
    assert stored(lab) == ["id-000002"]


def test_a_torn_line_was_never_answered_and_is_never_read(lab, tmp_path):
    folder = tmp_path / "log"
    log = RecordLog(folder, 1 << 20)
    log.append(record(1))
    (path,) = log_files(folder)
    with path.open("ab") as file:
        file.write(record(2)[:-40])
    assert flush(lab, folder) == 1
    assert read_chunk(path, Place(), 1 << 20).lines == (record(1)[:-1],)
    log.close()
    assert flush(lab, folder) == 0
    assert log_files(folder) == []
    assert stored(lab) == ["id-000001"]


def test_a_line_longer_than_a_chunk_is_read_whole(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"a" * 1000 + b"\n" + b"b\n")
    chunk = read_chunk(path, Place(), 10)
    assert (chunk.lines, chunk.after) == ((b"a" * 1000,), Place(1, 1001))
    assert read_chunk(path, chunk.after, 10).lines == (b"b",)


def test_a_full_disk_takes_nothing_half(tmp_path, monkeypatch):
    log = RecordLog(tmp_path, 1 << 20)
    log.append(record(1))
    write = os.write

    def full(file, data):
        if len(data) > 100:
            return write(file, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    for give in (100, 10):
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ScoreLogFailed, match="No space left"):
            log.append(record(2)[:150] + b"\n" if give == 100 else b"x" * 10)
        monkeypatch.undo()
    log.append(record(3))
    (path,) = log_files(tmp_path)
    assert path.read_bytes() == record(1) + record(3)


def test_a_flusher_that_saw_what_was_taken_back_misses_nothing(lab, tmp_path, monkeypatch):
    """Lines of a burst were written, and taken to the lake, before the disk was full: what comes next is not behind."""
    log = RecordLog(tmp_path, 1 << 20)
    log.append(record(1))
    write = os.write

    def full(file, data):
        if len(data) > len(record(2)) + 10:
            return write(file, data[: len(record(2)) + 10])
        flush(lab, tmp_path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ScoreLogFailed, match="No space left"):
        log.append(record(2) + record(3))
    monkeypatch.undo()
    for number in range(4, 8):
        log.append(record(number))
    log.close()
    flush(lab, tmp_path)
    assert stored(lab) == [f"id-{number:06d}" for number in (1, 2, 4, 5, 6, 7)]
    assert log_files(tmp_path) == []


def test_nothing_is_answered_that_cannot_be_recorded(served, monkeypatch):
    def fails(_):
        raise ScoreLogFailed("full", "free space")

    monkeypatch.setattr(served.parts.logs[0], "append", fails)

    async def ask():
        async with served.client() as client:
            return await client.post("/v1/credit-score", json=REQUEST)

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["type"]) == (503, "/docs#not_recorded")


def test_a_server_that_cannot_record_is_not_ready_until_it_can_again(served, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def asked():
        async def ask():
            async with served.client() as client:
                return (
                    (await client.post("/v1/credit-score", json=REQUEST)).status_code,
                    await client.get("/ready"),
                )

        return asyncio.run(ask())

    log = served.parts.logs[0]
    with monkeypatch.context() as disk:
        disk.setattr("datalab.serving.log.os.write", full)
        disk.setattr("pathlib.Path.write_bytes", full)
        status, ready = asked()
        assert (status, ready.status_code) == (503, 503)
        assert (ready.json()["type"], ready.json()["detail"]) == ("/docs#not_recorded", "No space left on device")
        assert log.probe() == "No space left on device"
    assert log.probe() == ""
    assert [path.suffix for path in log._folder.iterdir()] == [".jsonl"]
    status, ready = asked()
    assert (status, ready.status_code) == (200, 200)


def test_two_flushers_fence_each_other(lab, tmp_path, monkeypatch):
    """One is overtaken between its reading and its commit: it starts over, and nothing is there twice."""
    folder = tmp_path / "log"
    log = RecordLog(folder, 1 << 20)
    log.append(record(1))
    flush(lab, folder)
    log.append(record(2) + record(3))
    commit, overtaken = lab.lake.commit, []

    def slow(state, change: Change):
        if not overtaken:
            overtaken.append(state.snapshot)
            with Lab(lab.configuration, {}) as other:
                assert flush(other, folder) == 2
        return commit(state, change)

    monkeypatch.setattr(lab.lake, "commit", slow)
    assert flush(lab, folder) == 0
    assert overtaken
    assert stored(lab) == ["id-000001", "id-000002", "id-000003"]


def test_files_that_another_flusher_removed_are_no_trouble(lab, tmp_path):
    folder = tmp_path / "log"
    for number in range(30):
        log = RecordLog(folder, 1 << 20)
        log.append(record(number))
        log.close()
    with Lab(lab.configuration, {}) as first, Lab(lab.configuration, {}) as second:
        threads = [threading.Thread(target=flush, args=(each, folder)) for each in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert flush(lab, folder) == 0
    assert stored(lab) == [f"id-{number:06d}" for number in range(30)]
    assert log_files(folder) == []


def test_a_new_file_is_locked_before_it_can_be_seen(tmp_path):
    log = RecordLog(tmp_path, 1 << 20)
    log.append(record(1))
    (path,) = log_files(tmp_path)
    with path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_lines_that_are_no_records_are_counted_and_passed(lab, tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "1.jsonl").write_bytes(b"garbage\n" + record(1) + b"[1]\n")
    done = flush_log(lab.context(), SCORES, folder, Bus())
    assert (done.rows, done.damaged) == (1, 2)
    assert lab.query("SELECT source_row FROM ops.scores").read_all().column("source_row").to_pylist() == [1]
    (folder / "2.jsonl").write_bytes(b"garbage\n")
    done = flush_log(lab.context(), SCORES, folder, Bus())
    assert (done.rows, done.damaged) == (0, 1)
    assert stored(lab) == ["id-000001"]
    assert log_files(folder) == []


def test_with_disk_every_append_is_flushed_before_it_is_settled(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), fsync(file)))
    log = RecordLog(tmp_path, 1 << 20, "disk")
    sizes = []

    async def one(number):
        log.append(record(number))
        size = log._size
        await log.settled()
        sizes.append((size, max(synced)))

    async def many():
        await asyncio.gather(*(one(number) for number in range(50)))
        for number in range(3):
            await one(number)

    asyncio.run(many())
    assert all(reached >= size for size, reached in sizes)
    assert 4 <= len(synced) <= 20, "those that wait share one flush"


def test_reviews_are_recorded_for_scores_that_ask_for_one(served):
    review = {"resultado": "APROVADO", "revisor": "analista-7", "nota": "renda comprovada"}

    async def ask(score_id, body=review, role="admin"):
        async with served.client(role) as client:
            return await client.post(f"/v1/scores/{score_id}/review", json=body)

    manual = asyncio.run(served.score())["id_score"]
    approved = asyncio.run(served.score(renda_liquida_mes=30000, cultura_principal="SOJA"))["id_score"]
    answer = asyncio.run(ask(manual))
    assert answer.status_code == 201, answer.text
    assert asyncio.run(ask(approved)).json()["type"] == "/docs#not_reviewable"
    forged = manual.replace("-r-", "-r-")[:-1] + ("0" if manual[-1] != "0" else "1")
    turned = approved.replace("-a-", "-r-")
    for unknown in (forged, turned, "x", "0" * 43):
        assert asyncio.run(ask(unknown)).status_code == 404
    assert asyncio.run(ask(manual, {**review, "resultado": "REVISAO_MANUAL"})).status_code == 422
    assert asyncio.run(ask(manual, role="score")).status_code == 403
    with Lab(load(served.folder), {}) as lab:
        assert [each.rows for each in flush_logs(lab)] == [2, 1]
        (row,) = lab.query("SELECT score_id, reviewer, outcome, note FROM ops.reviews").read_all().to_pylist()
        assert lab.query(f"SELECT decision FROM ops.scores WHERE score_id = '{manual}'").read_all().num_rows == 1
    assert row == {"score_id": manual, "reviewer": "analista-7", "outcome": "APROVADO", "note": "renda comprovada"}


def test_ids_sort_by_time_are_unique_and_tell_their_decision():
    now = [1.0]
    ids = ScoreIds(bytes(32), lambda: now[0])
    made = [ids.new("NEGADO") for _ in range(70_000)]
    now[0] = 0.5
    made.append(ids.new("NEGADO"))
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {ids.decision(ids.new(word)) for word in ("APROVADO", "REVISAO_MANUAL", "NEGADO")} == {
        "APROVADO",
        "REVISAO_MANUAL",
        "NEGADO",
    }
    assert ScoreIds(bytes(31) + b"1").decision(made[0]) is None
    assert ids.decision(made[0] + "\n") is None


@pytest.mark.parametrize("key", [b"", bytes(32), b"k" * 64, b"longer than a block" * 5])
def test_ids_are_signed_by_hmac(key):
    body, _, signature = ScoreIds(key).new("NEGADO").rpartition("-")
    assert signature == hmac.new(key, b"datalab score id\0" + body.encode(), "sha256").hexdigest()[:16]


def test_the_command_line_scores_like_the_server(served, datalab, monkeypatch, tmp_path):
    monkeypatch.chdir(served.folder)
    (served.folder / "one.json").write_text(json.dumps(REQUEST))
    answer = datalab("score", "one.json", "--json").json
    theirs = asyncio.run(served.score())
    for same in ("score", "probabilidade_inadimplencia", "decisao", "razoes", "regras", "features", "modelo"):
        assert answer[same] == theirs[same]
    rows = datalab("query", "SELECT score_id, key_id FROM ops.scores WHERE key_id = 'command line'", "--json").json
    assert [row["score_id"] for row in rows] == [answer["id_score"]]
    (served.folder / "bad.json").write_text(json.dumps({**REQUEST, "prazo": "24"}))
    refused = datalab("score", "bad.json")
    assert (refused.code, "prazo" in refused.err) == (2, True)
    assert datalab("score", "absent.json").code == 2
    served.registry.champion(None)
    assert datalab("score", "one.json", "--no-flush", "--json").json["modelo"]["desatualizado"] is True
