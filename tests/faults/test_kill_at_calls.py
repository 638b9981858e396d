"""kill -9 at the n-th call that changes anything on disk, for each operation: all of it, or nothing, and on it goes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.operations import AFTER, BEFORE, OPERATIONS, TABLE, Place, prepare

from datalab.lake.maintenance.vacuum import vacuum

CALLS = (
    "write,pwrite64,writev,pwritev,pwritev2,?rename,renameat,renameat2,?unlink,unlinkat,?link,linkat,?mkdir,mkdirat,"
    "?rmdir,fsync,fdatasync,ftruncate,copy_file_range,sendfile"
)
CALL = re.compile(r"\d+ +\w+\(")
NEVER = 65_000
QUICK = 2
FORMATS = ("iceberg", "delta")
Point = tuple[str, int]


def _may_trace() -> bool:
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-f", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False)
    return tried.returncode == 0


needs_strace = pytest.mark.skipif(
    not _may_trace(), reason="NOT TESTED: kills at system calls need strace, and may use it"
)


class Zygote:
    """Starts an operation that strace watches; see zygote.py."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def perform(self, operation: str, place: tuple[str, Path], point: Point, log: Path) -> tuple[bool, str]:
        """Do an operation, killed at the n-th call of a kind in a thread. Whether it said that it was done; its end."""
        self._say("\t".join([operation, place[0], str(place[1])]))
        child = int(self._hear())
        injected = f"inject={point[0]}:signal=KILL:when={point[1]}"
        command = ["strace", "-f", "-o", str(log), "-e", f"trace={CALLS}", "-e", injected]
        with subprocess.Popen([*command, "-p", str(child)], stderr=subprocess.PIPE, text=True) as observer:
            assert observer.stderr is not None
            assert "attached" in observer.stderr.readline()
            os.kill(child, signal.SIGCONT)
            answer = self._hear()
            done = answer == "done"
            ended = self._hear() if done else answer
            observer.communicate(timeout=60)
        return done, ended

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that operations start from has ended"
        return line.strip()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote()
    yield started
    started.close()


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", FORMATS)
def test_killed_at_some_calls(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> None:
    points = _points(zygote, tmp_path, table_format, operation)
    assert len(points) > QUICK
    chosen = [points[len(points) * (2 * number + 1) // (2 * QUICK)] for number in range(QUICK)]
    assert [_kill(zygote, tmp_path, table_format, operation, point) for point in chosen].count(True) > 0


@needs_strace
@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", FORMATS)
def test_killed_at_every_call(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> None:
    points = _points(zygote, tmp_path, table_format, operation)
    killed = [_kill(zygote, tmp_path, table_format, operation, point) for point in points]
    # Threads share the work differently each time: the last calls of one may not come again.
    assert killed.count(True) > len(points) // 2


def _points(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> list[Point]:
    """Make the table, and list the calls of the operation, each with its number among its kind in one thread."""
    place = Place.open(table_format, tmp_path / "lake")
    prepare(place)
    assert place.rows() == BEFORE
    place.engine.close()
    shutil.copytree(tmp_path / "lake", tmp_path / "base")
    done, ended = zygote.perform(operation, (table_format, tmp_path / "lake"), ("fsync", NEVER), tmp_path / "calls")
    assert (done, ended) == (True, "exit 0")
    lines = (tmp_path / "calls").read_text(encoding="utf-8", errors="replace").splitlines()
    counts = Counter(tuple(line.partition("(")[0].split()[:2]) for line in lines if CALL.match(line))
    most: dict[str, int] = {}
    for (_, name), count in counts.items():
        most[name] = max(count, most.get(name, 0))
    return [(name, number) for name, count in sorted(most.items()) for number in range(1, count + 1)]


def _kill(zygote: Zygote, tmp_path: Path, table_format: str, operation: str, point: Point) -> bool:
    """One kill and what must hold after it; answers whether the operation lived long enough to be killed."""
    warehouse = tmp_path / "lake"
    shutil.rmtree(warehouse)
    shutil.copytree(tmp_path / "base", warehouse)
    done, ended = zygote.perform(operation, (table_format, warehouse), point, tmp_path / "calls")
    assert ended in (f"killed by {int(signal.SIGKILL)}", "exit 0"), ended
    place = Place.open(table_format, warehouse)
    found = place.rows()
    assert found == AFTER[operation] if done else found in (BEFORE, AFTER[operation]), (operation, point)
    OPERATIONS[operation](place)
    assert place.rows() == AFTER[operation], (operation, point)
    _everything_is_whole(place, operation)
    place.engine.close()
    return ended != "exit 0"


def _everything_is_whole(place: Place, operation: str) -> None:
    """Every snapshot that is listed can be read, and after a vacuum only what they name is there."""
    state = place.lake.require(TABLE)
    history = place.lake.history(state)
    assert history[-1].id == state.snapshot
    assert len(history) == 1 if operation == "expire" else len(history) >= 5
    for snapshot in history:
        relation = place.lake.files(state, snapshot.id)
        assert all(Path(file.path).stat().st_size == file.size for file in relation.files)
        assert all(Path(path).stat().st_size for file in relation.files for path in file.paths)
    vacuum(place.lake, TABLE, timedelta(0), datetime.now(UTC) + timedelta(seconds=2))
    assert list(place.lake.format(place.format).upkeep.strays(state)) == []
    assert place.rows(state) == AFTER[operation]
