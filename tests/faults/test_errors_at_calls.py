"""A system call that fails in the middle of an operation: a typed error or none, all or nothing, and on it goes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from tests.faults.observed import CHANGES, Fault, Point, Zygote, injected, needs_strace, points
from tests.faults.operations import AFTER, BEFORE, FORMATS, OPERATIONS, TABLE, Place, prepare

from datalab.lake.maintenance.vacuum import vacuum

CALLS = f"{CHANGES},openat,read,pread64,getdents64,close"
ERRORS = ("EIO", "ENOSPC", "EINTR")
QUICK, FULL = 3, 150


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", FORMATS)
def test_calls_that_fail(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> None:
    _fail_some(zygote, tmp_path, (table_format, operation), QUICK, seed=1)


@needs_strace
@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", FORMATS)
def test_many_calls_that_fail(zygote: Zygote, tmp_path: Path, table_format: str, operation: str) -> None:
    _fail_some(zygote, tmp_path, (table_format, operation), FULL, seed=2)


def _fail_some(zygote: Zygote, folder: Path, case: tuple[str, str], count: int, seed: int) -> None:
    table_format, operation = case
    place = Place.open(table_format, folder / "lake")
    prepare(place)
    place.engine.close()
    shutil.copytree(folder / "lake", folder / "base")
    log = folder / "calls"
    outcome = zygote.perform(operation, (table_format, folder / "lake"), Fault(calls=CALLS), log)
    assert (outcome.done, outcome.refused) == (True, ())
    found, chance = points(log, str(folder)), Random(f"{seed}/{case}")
    chosen = [(chance.choice(found), chance.choice(ERRORS)) for _ in range(count)]
    problems = [problem for point, error in chosen for problem in _fail(zygote, folder, case, point, error)]
    assert problems == []


def _fail(zygote: Zygote, folder: Path, case: tuple[str, str], point: Point, error: str) -> Iterator[str]:
    """One call that fails, and what is not as it has to be after it."""
    (table_format, operation), warehouse, log = case, folder / "lake", folder / "calls"
    shutil.rmtree(warehouse)
    shutil.copytree(folder / "base", warehouse)
    outcome = zygote.perform(operation, (table_format, warehouse), Fault(point, f"error={error}", CALLS), log)
    hit = injected(log)
    about = f"{case} {error} at {point} {hit}: {outcome}"
    if any(str(folder) not in call for call in hit):  # of another thread: what libraries say to themselves may not fail
        return
    if outcome.ended != "exit 0":
        yield f"no typed error: {about}"
    try:
        place = Place.open(table_format, warehouse)
        held = place.rows()
        if held != AFTER[operation] and (outcome.done or held != BEFORE):
            yield f"half of it: {about}"
        OPERATIONS[operation](place)
        if place.rows() != AFTER[operation]:
            yield f"wrong after the next: {about}"
        state = place.lake.require(TABLE)
        for snapshot in place.lake.history(state):
            for file in place.lake.files(state, snapshot.id).files:
                assert all(Path(path).stat().st_size for path in file.paths)
        vacuum(place.lake, TABLE, timedelta(0), datetime.now(UTC) + timedelta(seconds=2))
        if place.rows(place.lake.require(TABLE)) != AFTER[operation]:
            yield f"wrong after a vacuum: {about}"
        place.engine.close()
    except Exception as failed:  # noqa: BLE001 - whatever it is, it is told
        yield f"cannot go on, {failed!r}: {about}"
