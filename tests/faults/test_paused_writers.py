"""A writer that stands still between reading and committing, and is overtaken: refused, whatever it wanted to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.operations import TABLE, Place, contas, expected, prepare, put, stage, write_once

from datalab.engine.base import Append, Mode, Replace, Upsert
from datalab.errors import Fenced

QUICK, FULL = 10, 200
MODES: tuple[Mode, ...] = (Append(), Upsert(("conta", "parte"), "__sequence"), Replace())


def main(table_format: str, warehouse: Path) -> None:
    """For each line: read and stage, stop, and go on to commit when woken. Says `landed` or `fenced`."""
    place = Place.open(table_format, warehouse)
    for line in sys.stdin:
        number = int(line)
        state = place.lake.require(TABLE)
        staged = stage(place, state, contas(number, number, number), MODES[number % len(MODES)])
        sys.stdout.write("staged\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            write_once(place, state, staged)
            sys.stdout.write("landed\n")
        except Fenced as refused:
            sys.stdout.write(f"fenced {refused.message}\n")
        sys.stdout.flush()
    place.engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_overtaken_writers_are_refused(tmp_path: Path, table_format: str) -> None:
    _overtake(tmp_path, table_format, QUICK)


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_overtaken_writers_are_refused_in_the_long_run(tmp_path: Path, table_format: str) -> None:
    _overtake(tmp_path, table_format, FULL)


def _overtake(tmp_path: Path, table_format: str, rounds: int) -> None:
    place = Place.open(table_format, tmp_path / "lake")
    prepare(place)
    wanted = place.rows()
    with _writer(table_format, tmp_path / "lake") as writer:
        for number in range(100, 100 + rounds):
            _ask(writer, f"{number}\n")
            assert _hear(writer) == "staged"
            os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
            overtaken = number % 5 != 0
            if overtaken:
                put(place, contas(1000 + number, 1000 + number, 1), Append(), number)
                wanted |= expected(1000 + number, 1000 + number, 1)
            os.kill(writer.pid, signal.SIGCONT)
            answer = _hear(writer)
            assert answer.startswith("fenced silver.contas: run r (fonte) committed first") is overtaken, answer
            if not overtaken:
                wanted = {**({} if MODES[number % 3] == Replace() else wanted), **expected(number, number, number)}
            assert place.rows() == wanted
    place.engine.close()


@contextmanager
def _writer(table_format: str, warehouse: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])}
    command = [sys.executable, "-m", __name__, table_format, str(warehouse)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            yield process
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 0
        finally:
            process.kill()


def _ask(writer: subprocess.Popen[str], line: str) -> None:
    assert writer.stdin is not None
    writer.stdin.write(line)
    writer.stdin.flush()


def _hear(writer: subprocess.Popen[str]) -> str:
    assert writer.stdout is not None
    return writer.stdout.readline().strip()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
