"""Worker processes: answers, errors, and the ways to die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalab.errors import DataLabError, WorkerCrashed
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


def lives(pid: int) -> bool:
    """Whether a process has not ended, be it that nobody has asked how it did."""
    file = Path(f"/proc/{pid}/stat")
    return file.exists() and file.read_text().rpartition(")")[2].split()[0] != "Z"


def soon_gone(*pids: int) -> bool:
    patience = time.monotonic() + 20
    while any(map(lives, pids)) and time.monotonic() < patience:
        time.sleep(0.02)
    return not any(map(lives, pids))


def test_workers_are_copies_of_one_process_and_end_with_it() -> None:
    with Workers(2, MEMORY) as pool:
        for _ in range(2):
            pool.submit(Call(f"{KILLERS}:family", 0.2, 30))
        answers = [pool.next()[1] for _ in range(2)]
        found = [each.value for each in answers if isinstance(each, Value)]
        pool.submit(Call(f"{KILLERS}:hang", 1, 30))
        pids, parents = ({each[at] for each in found} for at in (0, 1))
        assert (len(pids), len(parents)) == (2, 1)
        assert os.getpid() not in parents
        pool.close()
        assert not any(map(lives, (*pids, *parents)))


@pytest.mark.parametrize("function", ["work:decode_job", "message_work:decode_message_job"])
def test_what_is_copied_has_one_thread(function: str) -> None:
    with Workers(1, MEMORY) as pool:
        pool.warm(1, f"datalab.ingest.{function}")
        found = outcome(pool, Call(f"{KILLERS}:family", 0.0, 30))
        assert isinstance(found, Value)
        assert len(list(Path(f"/proc/{found.value[1]}/task").iterdir())) == 1


def test_processes_that_are_not_loaded_yet_are_ended() -> None:
    with Workers(2, MEMORY) as pool:
        pool.warm(2, f"{KILLERS}:double")


def test_who_cannot_start_workers_says_so_and_others_can_be_started_later() -> None:
    with Workers(1, MEMORY) as pool:
        found = outcome(pool, Call(f"{KILLERS}:family", 0.0, 30))
        assert isinstance(found, Value)
        worker, parent = found.value
        os.kill(parent, signal.SIGKILL)
        with pytest.raises(WorkerCrashed, match="decoding processes cannot be started"):
            outcome(pool, Call(f"{KILLERS}:hang", 1, 0.3))
        pool.close()
        assert soon_gone(worker, parent)
        assert outcome(pool, Call(f"{KILLERS}:double", 2, 30)) == Value(4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_service_ends_no_worker_in_its_work(number: signal.Signals) -> None:
    with Workers(1, MEMORY) as pool:
        found = outcome(pool, Call(f"{KILLERS}:family", 0.0, 30))
        assert isinstance(found, Value)
        pool.submit(Call(f"{KILLERS}:doze", 0.5, 30))
        for pid in found.value:
            os.kill(pid, number)
        assert isinstance(pool.next()[1], Value)
        assert all(map(lives, found.value))


def test_what_cannot_be_loaded_is_named() -> None:
    with Workers(1, MEMORY) as pool, pytest.raises(WorkerCrashed, match="No module named 'nothing'"):
        outcome(pool, Call("nothing:at_all", 1, 30))


def test_no_worker_survives_who_started_it() -> None:
    program = (
        "from datalab.ingest.workers import Call, Workers\n"
        "pool = Workers(1, 256 << 20)\n"
        f"pool.submit(Call('{KILLERS}:family', 0.0, 30))\n"
        "print(*pool.next()[1].value, flush=True)\n"
        f"pool.submit(Call('{KILLERS}:hang', 1, 300))\n"
        "print(flush=True)\n"
        "pool.next()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        pids = [int(each) for each in process.stdout.readline().split()]
        process.stdout.readline()
        assert [lives(pid) for pid in pids] == [True, True]
        process.kill()
    assert soon_gone(*pids)
