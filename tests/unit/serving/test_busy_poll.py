"""The loop stays awake for a moment after an answer, and no longer."""

import asyncio
import time

import pytest

from datalab.serving.busy_poll import BusyPoll


async def turns_of_the_loop(polling: BusyPoll, answers: int, seconds: float) -> tuple[int, float]:
    """How often the loop went round while nothing happened after so many answers, and the CPU that it took."""
    loop = asyncio.get_running_loop()
    turns, select = 0, loop._selector.select

    def counted(timeout=None):
        nonlocal turns
        turns += 1
        return select(timeout)

    loop._selector.select = counted
    for _ in range(answers):
        polling.answered(loop)
    cpu = time.process_time()
    await asyncio.sleep(seconds)
    return turns, time.process_time() - cpu


def test_after_an_answer_the_loop_looks_again_and_again():
    turns, _ = asyncio.run(turns_of_the_loop(BusyPoll(0.05), answers=1, seconds=0.2))
    assert turns > 50


@pytest.mark.parametrize(("seconds", "answers"), [(0.05, 0), (0, 3)])
def test_without_an_answer_or_a_time_it_sleeps(seconds, answers):
    turns, _ = asyncio.run(turns_of_the_loop(BusyPoll(seconds), answers, seconds=0.1))
    assert turns < 10


def test_it_sleeps_again_whatever_came_before():
    polling = BusyPoll(0.01)
    asyncio.run(turns_of_the_loop(polling, answers=100, seconds=0.1))

    async def later() -> float:
        polling.answered(asyncio.get_running_loop())
        await asyncio.sleep(0.05)
        cpu = time.process_time()
        await asyncio.sleep(0.3)
        return time.process_time() - cpu

    assert asyncio.run(later()) < 0.15
