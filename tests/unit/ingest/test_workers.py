"""Worker processes: answers, errors, and the ways to die."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datalab.errors import DataLabError
from datalab.ingest.workers import Call, Died, Failed, Outcome, Value, Workers

KILLERS = "tests.unit.ingest.killers"
MEMORY = 256 << 20


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1, MEMORY) as pool:
        yield pool


def outcome(workers: Workers, call: Call) -> Outcome:
    workers.submit(call)
    return workers.next()[1]


def test_calls_are_answered_and_told_apart(workers: Workers) -> None:
    calls = [Call(f"{KILLERS}:double", number, 30) for number in range(5)]
    for call in calls:
        workers.submit(call)
    answers = [workers.next() for _ in calls]
    assert {call.argument: found for call, found in answers} == {number: Value(2 * number) for number in range(5)}
    assert not workers.pending


def test_who_asks_whether_there_is_an_answer_does_not_wait(workers: Workers) -> None:
    outcome(workers, Call(f"{KILLERS}:double", 1, 30))
    workers.submit(Call(f"{KILLERS}:doze", 0.5, 30))
    assert not workers.answered
    workers.next()


def test_errors_cross_and_the_worker_lives_on(workers: Workers) -> None:
    found = outcome(workers, Call(f"{KILLERS}:fail", 3, 30))
    assert isinstance(found, Failed)
    assert (type(found.error), str(found.error)) == (ValueError, "not 3")
    told = outcome(workers, Call(f"{KILLERS}:fail_unportably", 3, 30))
    assert isinstance(told, Failed)
    assert (type(told.error), str(told.error)) == (DataLabError, "Local: here alone")


def test_a_worker_that_dies_is_named_and_replaced(workers: Workers) -> None:
    died = outcome(workers, Call(f"{KILLERS}:crash", 1, 30))
    assert died == Died(died.reason, "the decoding process ended with code -11")  # type: ignore[union-attr]
    assert died.reason == "worker_crashed"  # type: ignore[union-attr]
    assert outcome(workers, Call(f"{KILLERS}:double", 4, 30)) == Value(8)


@pytest.mark.parametrize("hoard", ["hoard", "hoard_natively"])
def test_memory_is_bounded(workers: Workers, hoard: str) -> None:
    died = outcome(workers, Call(f"{KILLERS}:{hoard}", 2 * MEMORY, 30))
    assert died.reason == "too_large"  # type: ignore[union-attr]
    assert outcome(workers, Call(f"{KILLERS}:hoard", MEMORY // 2, 30)) == Value(MEMORY // 2)


def test_time_is_bounded(workers: Workers) -> None:
    assert outcome(workers, Call(f"{KILLERS}:double", 1, 30)) == Value(2)
    died = outcome(workers, Call(f"{KILLERS}:hang", 1, 0.3))
    assert died.reason == "too_slow"  # type: ignore[union-attr]


def test_arrows_allocator_leaves_the_limit_to_the_data() -> None:
    with Workers(1, (1 << 30) + (8 << 20)) as workers:
        workers.submit(Call("tests.unit.ingest.killers:hold", 100 << 20, 30.0))
        _, outcome = workers.next()
    assert outcome == Value(100 << 20)


def test_a_worker_that_says_much_before_it_dies_had_started() -> None:
    with Workers(1, 256 << 20) as workers:
        workers.submit(Call(f"{KILLERS}:talk_and_crash", 500, 30.0))
        _, outcome = workers.next()
        assert isinstance(outcome, Died)
        assert outcome.reason == "worker_crashed"


def test_what_a_worker_says_does_not_pile_up() -> None:
    with Workers(1, 256 << 20) as workers:
        for _ in range(3):
            workers.submit(Call(f"{KILLERS}:talk", 1_000, 30.0))
            _, outcome = workers.next()
            assert isinstance(outcome, Value)
            assert outcome.value < 90_000


def test_a_library_that_is_loaded_later_takes_none_of_the_limit() -> None:
    with Workers(1, MEMORY) as workers:
        grown = outcome(workers, Call(f"{KILLERS}:load_and_hold", 64 << 20, 30))
        assert grown == Value((64 << 20, True))
        assert outcome(workers, Call(f"{KILLERS}:hoard", MEMORY - (32 << 20), 30)) == Value(MEMORY - (32 << 20))
        died = outcome(workers, Call(f"{KILLERS}:hoard", MEMORY + (8 << 20), 30))
        assert died.reason == "too_large"  # type: ignore[union-attr]


def test_files_of_the_current_folder_are_no_modules_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("enum.py", "numpy.py", "queue.py"):
        tmp_path.joinpath(name).write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    with Workers(1, MEMORY) as pool:
        assert outcome(pool, Call(f"{KILLERS}:double", 2, 30)) == Value(4)
