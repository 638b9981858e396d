"""kill -9 at the n-th call that changes anything on disk, for each operation: all of it, or nothing, and on it goes."""

from __future__ import annotations

import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.observed import Fault, Point, Zygote, needs_strace, points
from tests.faults.operations import AFTER, BEFORE, FORMATS, OPERATIONS, TABLE, Place, prepare

from datalab.lake.maintenance.vacuum import vacuum

QUICK = 2


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", FORMATS)
def test_killed_at_some_calls(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> None:
    found = _points(zygote, tmp_path, table_format, operation)
    assert len(found) > QUICK
    chosen = [found[len(found) * (2 * number + 1) // (2 * QUICK)] for number in range(QUICK)]
    assert [_kill(zygote, tmp_path, table_format, operation, point) for point in chosen].count(True) > 0


@needs_strace
@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", FORMATS)
def test_killed_at_every_call(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> None:
    found = _points(zygote, tmp_path, table_format, operation)
    killed = [_kill(zygote, tmp_path, table_format, operation, point) for point in found]
    # Threads share the work differently each time: the last calls of one may not come again.
    assert killed.count(True) > len(found) // 2


def _points(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> list[Point]:
    """Make the table, and list the calls of the operation, each with its number among its kind in one thread."""
    place = Place.open(table_format, tmp_path / "lake")
    prepare(place)
    assert place.rows() == BEFORE
    place.engine.close()
    shutil.copytree(tmp_path / "lake", tmp_path / "base")
    outcome = zygote.perform(operation, (table_format, tmp_path / "lake"), Fault(), tmp_path / "calls")
    assert (outcome.done, outcome.ended) == (True, "exit 0")
    return points(tmp_path / "calls")


def _kill(zygote: Zygote, tmp_path: Path, table_format: str, operation: str, point: Point) -> bool:
    """One kill and what must hold after it; answers whether the operation lived long enough to be killed."""
    warehouse = tmp_path / "lake"
    shutil.rmtree(warehouse)
    shutil.copytree(tmp_path / "base", warehouse)
    outcome = zygote.perform(operation, (table_format, warehouse), Fault(point), tmp_path / "calls")
    done, ended = outcome.done, outcome.ended
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
