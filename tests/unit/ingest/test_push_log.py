"""Pushed records: what was acknowledged is on disk, once, whatever happens to the process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from datalab.errors import IdempotencyConflict, StorageFull
from datalab.ingest.push.journal import journal_of, recover
from datalab.ingest.push.log import PushLog

WRITER = """
import sys
from datalab.ingest.push.log import PushLog
log = PushLog(__import__("pathlib").Path(sys.argv[1]), seal_bytes=2_000)
for number in range(100_000):
    body = b"".join(b'{"n": %d, "part": %d}\\n' % (number, part) for part in range(3))
    log.append(body, 3, f"key-{number}")
    print(number, flush=True)
"""


def lines(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_records_are_where_the_receipt_says(tmp_path: Path) -> None:
    log = PushLog(tmp_path)
    first, second = log.append(b'{"n": 1}\n{"n": 2}\n', 2), log.append(b'{"n": 3}\n', 1)
    assert (second.file, second.row, second.rows) == (first.file, 2, 1)
    assert not list(tmp_path.glob("*.jsonl"))
    log.close()
    assert (tmp_path / first.file).read_text() == '{"n": 1}\n{"n": 2}\n{"n": 3}\n'


def test_files_are_sealed_by_size_and_by_age(tmp_path: Path) -> None:
    log = PushLog(tmp_path, seal_bytes=10)
    names = {log.append(b'{"n": 1234567}\n', 1).file for _ in range(3)}
    assert len(names) == 3
    log.seal_due()
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    aged = PushLog(tmp_path / "aged", seal_seconds=0)
    aged.append(b"{}\n", 1)
    aged.seal_due()
    assert len(list((tmp_path / "aged").glob("*.jsonl"))) == 1
    assert not list((tmp_path / "aged").glob("*.part"))


def test_a_file_is_sealed_in_time_though_the_clock_was_set_back(tmp_path: Path) -> None:
    log = PushLog(tmp_path, seal_seconds=60)
    log.append(b"{}\n", 1)
    log.seal_due()
    assert not list(tmp_path.glob("*.jsonl"))
    log.seal_due(now=time.time() - 3_600)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_a_request_that_comes_again_is_answered_as_before(tmp_path: Path) -> None:
    log = PushLog(tmp_path)
    first = log.append(b'{"n": 1}\n', 1, "k")
    again = log.append(b'{"n": 1}\n', 1, "k")
    assert (again.file, again.row, again.repeated) == (first.file, first.row, True)
    with pytest.raises(IdempotencyConflict, match="'k' came before with other records"):
        log.append(b'{"n": 2}\n', 1, "k")
    log.close()
    restarted = PushLog(tmp_path)
    assert restarted.append(b'{"n": 1}\n', 1, "k").repeated
    assert lines(tmp_path) == ['{"n": 1}']


def test_keys_are_forgotten_after_a_day_while_the_process_lives(tmp_path: Path) -> None:
    log = PushLog(tmp_path)
    for number in range(3):
        log.append(b'{"n": 1}\n', 1, f"k{number}")
    log.seal_due(now=time.time() + 23 * 3600)
    assert log.append(b'{"n": 1}\n', 1, "k2").repeated
    log.seal_due(now=time.time() + 25 * 3600)
    assert not log._known
    assert not log.append(b'{"n": 2}\n', 1, "k2").repeated


def test_containers_are_kept_as_they_came(tmp_path: Path) -> None:
    log = PushLog(tmp_path)
    receipt = log.put(b"Obj\x01...", 7, ".avro", "k")
    assert (tmp_path / receipt.file).read_bytes() == b"Obj\x01..."
    assert log.put(b"Obj\x01...", 7, ".avro", "k").repeated
    assert len(list(tmp_path.glob("*.avro"))) == 1


def test_many_threads_each_find_their_own_records(tmp_path: Path) -> None:
    log = PushLog(tmp_path, seal_bytes=500)
    receipts: dict[int, tuple[str, int]] = {}

    def push(first: int) -> None:
        for number in range(first, first + 25):
            receipt = log.append(f'{{"n": {number}}}\n'.encode(), 1, f"k{number}")
            receipts[number] = (receipt.file, receipt.row)

    threads = [threading.Thread(target=push, args=(first,)) for first in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(json.loads(line)["n"] for line in lines(tmp_path)) == list(range(200))
    for number, (file, row) in receipts.items():
        assert json.loads((tmp_path / file).read_text().splitlines()[row])["n"] == number


@pytest.mark.parametrize("after", [1, 20, 60])
def test_after_a_kill_every_acknowledged_request_is_there_whole_and_once(tmp_path: Path, after: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    log = PushLog(tmp_path)
    for number in range(max(acknowledged) + 3):  # a client that repeats all it ever sent, and goes on
        body = b"".join(b'{"n": %d, "part": %d}\n' % (number, part) for part in range(3))
        assert log.append(body, 3, f"key-{number}").repeated or number > max(acknowledged)
    log.close()
    found = Counter((record["n"], record["part"]) for record in map(json.loads, lines(tmp_path)))
    assert set(found.values()) == {1}
    assert set(found) == {(number, part) for number in range(max(acknowledged) + 3) for part in range(3)}


@pytest.mark.parametrize("torn", [1, 5, 12])
def test_what_was_torn_does_not_count(tmp_path: Path, torn: int) -> None:
    log = PushLog(tmp_path)
    receipt = log.append(b'{"n": 1}\n', 1)
    log.append(b'{"n": 2}\n', 1)
    part = tmp_path / f"{receipt.file}.part"
    data, journal = part.read_bytes(), journal_of(tmp_path / receipt.file).read_bytes()
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    (crashed / part.name).write_bytes(data[:-torn])
    journal_of(crashed / receipt.file).write_bytes(journal)
    PushLog(crashed).close()
    assert lines(crashed) == (['{"n": 1}'] if torn < 10 else [])
    log.close()


def test_a_full_disk_is_told_and_nothing_of_the_request_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PushLog(tmp_path)
    log.append(b'{"n": 1}\n', 1, "a")
    real = os.fdatasync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(StorageFull, match="no space left for pushed records"):
        log.append(b'{"n": 2}\n', 1, "b")
    monkeypatch.setattr(os, "fdatasync", real)
    assert not log.append(b'{"n": 2}\n', 1, "b").repeated
    log.close()
    assert sorted(lines(tmp_path)) == ['{"n": 1}', '{"n": 2}']


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    log = PushLog(tmp_path)
    log.append(b'{"n": 1}\n', 1)
    other = PushLog(tmp_path)
    other.append(b'{"n": 2}\n', 1)
    log.append(b'{"n": 3}\n', 1)
    log.close()
    other.close()
    assert sorted(lines(tmp_path)) == ['{"n": 1}', '{"n": 2}', '{"n": 3}']


def test_a_file_that_was_just_made_is_not_taken_for_one_that_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process starts, and cleans up, before the new file is locked; and once more while it is sealed."""
    log, real, others = PushLog(tmp_path), fcntl.flock, []

    def starting(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not others:
            others.append(PushLog(tmp_path))
        real(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", starting)
        receipt = log.append(b'{"n": 1}\n', 1)
    (part,) = tmp_path.glob("*.part")
    opened = os.open(part, os.O_RDWR)
    log.close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", lambda *_: opened)
        recover(part)
    assert (tmp_path / receipt.file).read_text() == '{"n": 1}\n'
    assert lines(tmp_path) == ['{"n": 1}']
