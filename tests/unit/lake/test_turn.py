"""Turns at the head of a table: one writer at a time, nobody for ever, and no trace left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from datalab.lake import turn as turns
from datalab.lake.turn import turn, turn_after

HOLDER = """
import sys, time
from datalab.lake.turn import turn
with turn(sys.argv[1]) as alone:
    print(alone, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the turn."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_one_at_a_time_and_nothing_stays_behind(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with turn(str(tmp_path)) as alone:
                assert alone
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)
    assert list(tmp_path.iterdir()) == []


def test_who_has_the_turn_may_ask_again(tmp_path: Path) -> None:
    with turn(str(tmp_path)) as one, turn(str(tmp_path)) as two:
        assert (one, two) == (True, True)
    with turn_after(1, str(tmp_path)) as first, turn_after(2, f"file://{tmp_path}") as later:
        assert (first, later) == (False, True)


def test_nobody_waits_for_ever_for_one_who_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE", 0.05)
    with holder(tmp_path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with turn(str(tmp_path)) as alone:
            assert not alone


def test_the_turn_goes_with_its_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        with turn(str(tmp_path)) as alone:
            assert alone


def test_a_copy_of_the_process_does_not_keep_it(tmp_path: Path) -> None:
    with turn(str(tmp_path)):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=_locked(tmp_path))
    with turn(str(tmp_path)) as alone:
        assert alone
    child.communicate(b"\n")


def test_elsewhere_there_are_no_turns(tmp_path: Path) -> None:
    for place in ("s3://lake/silver/contas", str(tmp_path / "none")):
        with turn(place) as alone:
            assert not alone


def _locked(folder: Path) -> tuple[int, ...]:
    """The descriptors of this process that are of a folder."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if link.samefile(folder):
                found.append(int(link.name))
    return tuple(found)
