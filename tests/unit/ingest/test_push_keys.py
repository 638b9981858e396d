"""Several processes take pushed records of one source: a request that comes to more than one of them is stored once."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from datalab.errors import IdempotencyConflict, StorageFull
from datalab.ingest.push import keys
from datalab.ingest.push import log as logs
from datalab.ingest.push.journal import Segment
from datalab.ingest.push.log import PushLog

ALL = """
import sys
from pathlib import Path
from datalab.ingest.push.log import PushLog
log = PushLog(Path(sys.argv[1]), seal_bytes=700)
for number in range(int(sys.argv[2])):
    receipt = log.append(b'{"n": %d}\\n' % number, 1, f"k{number}") if number % 5 else \\
        log.put(b'{"n": %d}\\n' % number, 1, ".jsonl", f"k{number}")
    print(receipt.file, receipt.row, receipt.repeated, flush=True)
log.close()
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from datalab.ingest.push import journal, keys
from datalab.ingest.push.log import PushLog
log = PushLog(Path(sys.argv[1]))
log.append(b'{"n": 1}\\n', 1, "before")
owner = {"write": journal.Segment, "sync": journal.Segment, "tell": keys.Keys}[sys.argv[2]]
def killed(*_):
    if sys.argv[2] == "tell":
        os.write(_[0]._file, b'{"entry": {"key": "k", "fi')
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, sys.argv[2], killed)
log.append(b'{"n": 2}\\n', 1, "k")
"""


def stored(folder: Path) -> Counter[int]:
    found = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return Counter(json.loads(line)["n"] for line in found)


def test_what_one_has_taken_the_other_answers_as_before(tmp_path: Path) -> None:
    one, two = PushLog(tmp_path), PushLog(tmp_path)
    for number, (here, there) in enumerate([(one, two), (two, one), (one, two)]):
        body, key = b'{"n": %d}\n' % number, f"k{number}"
        first, again = here.append(body, 1, key), there.append(body, 1, key)
        assert (again.file, again.row, again.repeated) == (first.file, first.row, True)
        with pytest.raises(IdempotencyConflict, match=f"'{key}' came before with other records"):
            there.append(b'{"n": 99}\n', 1, key)
    first, again = one.put(b'{"n": 7}\n', 1, ".jsonl", "p"), two.put(b'{"n": 7}\n', 1, ".jsonl", "p")
    assert (again.file, again.repeated) == (first.file, True)
    for each in (one, two):
        each.close()
    assert stored(tmp_path) == {0: 1, 1: 1, 2: 1, 7: 1}
    assert not list(tmp_path.glob("*.part"))


def test_processes_that_get_the_same_requests_at_the_same_time_store_each_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALL, str(tmp_path), "60"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert stored(tmp_path) == dict.fromkeys(range(60), 1)
    for number, told in enumerate(zip(*answers, strict=True)):
        assert len({line.rpartition(" ")[0] for line in told}) == 1
        assert sum(line.endswith("False") for line in told) == 1
        file, row, _ = told[0].split()
        assert json.loads((tmp_path / file).read_text().splitlines()[int(row)]) == {"n": number}


@pytest.mark.parametrize("moment", ["tell", "write", "sync"])
def test_who_is_killed_while_storing_has_stored_or_not(tmp_path: Path, moment: str) -> None:
    other = PushLog(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert other.append(b'{"n": 2}\n', 1, "k").repeated is (moment == "sync")
    assert other.append(b'{"n": 1}\n', 1, "before").repeated
    late = PushLog(tmp_path)
    assert late.append(b'{"n": 2}\n', 1, "k").repeated
    for each in (other, late):
        each.close()
    assert stored(tmp_path) == {1: 1, 2: 1}


def test_who_waits_for_another_gets_its_answer_or_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = PushLog(tmp_path), PushLog(tmp_path)
    forcing, go_on, broken = threading.Event(), threading.Event(), [False]
    real = Segment.sync

    def slow(segment: Segment) -> None:
        if threading.current_thread() is first:
            forcing.set()
            assert go_on.wait(20)
            if broken[0]:
                segment.failure = OSError(errno.EIO, "the disk is broken")
                segment._cut(segment.durable)
                raise segment.failure
        real(segment)

    monkeypatch.setattr(Segment, "sync", slow)
    for number, breaks in enumerate([False, True]):
        broken[0], answers = breaks, []
        body, key = b'{"n": %d}\n' % number, f"k{number}"

        def ask(log: PushLog, body: bytes = body, key: str = key, answers: list[object] = answers) -> None:
            try:
                answers.append(log.append(body, 1, key).repeated)
            except OSError as error:
                answers.append(error.errno)

        first, second = threading.Thread(target=ask, args=(one,)), threading.Thread(target=ask, args=(two,))
        first.start()
        assert forcing.wait(20)
        second.start()
        second.join(0.2)
        assert answers == []
        go_on.set()
        first.join()
        one.seal_due()
        second.join()
        assert answers == ([errno.EIO, False] if breaks else [False, True])
        forcing.clear()
        go_on.clear()
    for each in (one, two):
        each.close()
    assert stored(tmp_path) == {0: 1, 1: 1}


def test_what_found_no_room_at_one_is_stored_by_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = PushLog(tmp_path), PushLog(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Segment, "write", full)
        for attempt in (lambda: one.append(b'{"n": 1}\n', 1, "k"), lambda: one.put(b'{"n": 2}\n', 1, ".jsonl", "p")):
            with pytest.raises(StorageFull):
                attempt()
    one.seal_due()
    assert not two.append(b'{"n": 1}\n', 1, "k").repeated
    assert not two.put(b'{"n": 2}\n', 1, ".jsonl", "p").repeated
    assert one.append(b'{"n": 1}\n', 1, "k").repeated
    for each in (one, two):
        each.close()
    assert stored(tmp_path) == {1: 1, 2: 1}


def test_a_process_that_stands_still_while_telling_stops_only_requests_with_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_PATIENCE", 0.05)
    one, two = PushLog(tmp_path), PushLog(tmp_path)
    with one._keys.alone():
        with pytest.raises(TimeoutError, match="another process holds"):
            two.append(b'{"n": 1}\n', 1, "k")
        two.seal_due()
        assert not two.append(b'{"n": 2}\n', 1).repeated
    assert not two.append(b'{"n": 1}\n', 1, "k").repeated


def test_the_file_of_keys_is_renewed_and_nobody_misses_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_FULL", 1_000)
    one, two, asleep = PushLog(tmp_path, seal_seconds=0), PushLog(tmp_path), PushLog(tmp_path)
    asleep.seal_due()
    for number in range(20):
        body, key = b'{"n": %d}\n' % number, f"k{number}"
        assert not one.append(body, 1, key).repeated
        assert two.append(body, 1, key).repeated
    assert (tmp_path / keys.NAME).stat().st_size < 2_000
    for each in (asleep, PushLog(tmp_path)):
        assert all(each.append(b'{"n": %d}\n' % number, 1, f"k{number}").repeated for number in range(20))
        each.close()
    for each in (one, two):
        each.close()
    assert stored(tmp_path) == dict.fromkeys(range(20), 1)
    assert (tmp_path / keys.NAME).stat().st_mode & 0o777 == 0o600


def test_keys_of_yesterday_are_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = PushLog(tmp_path), PushLog(tmp_path)
    one.append(b'{"n": 1}\n', 1, "k")
    one.seal_due(now=time.time() + 25 * 3600)
    monkeypatch.setattr(logs, "_KEYS_KEPT", -1.0)
    assert not two.append(b'{"n": 1}\n', 1, "k").repeated
